# enterprise-orch, verb "read_log", version 1
# Returns bytes of what a job's program wrote: from an offset on, or (Tail) the end.
param(
    [Parameter(Mandatory = $true)] [string] $Token,
    [Parameter(Mandatory = $true)] [string] $Root,
    [Parameter(Mandatory = $true)] [string] $Key,
    [long] $Out = 0,
    [long] $Err = 0,
    [int] $Limit = 65536,
    [switch] $Tail
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

$directory = [IO.Path]::Combine($Root, $Key)
$answer = @{ v = 1; key = $Key; state = 'read'; message = ''; out = ''; err = '' }

function Read-Bytes([string] $Name, [long] $From) {
    $file = [IO.Path]::Combine($directory, $Name)
    if (-not [IO.File]::Exists($file)) { return '' }
    $stream = [IO.File]::Open($file, [IO.FileMode]::Open, [IO.FileAccess]::Read, [IO.FileShare]::ReadWrite)
    try {
        if ($Tail) { $From = [Math]::Max(0, $stream.Length - $Limit) }
        $count = [int][Math]::Max(0, [Math]::Min([long]$Limit, $stream.Length - $From))
        $bytes = New-Object byte[] $count
        [void]$stream.Seek($From, [IO.SeekOrigin]::Begin)
        $got = $stream.Read($bytes, 0, $count)
        return [Convert]::ToBase64String($bytes, 0, $got)
    } finally { $stream.Dispose() }
}

try {
    if ([IO.File]::Exists([IO.Path]::Combine($directory, 'job.json'))) {
        $answer.out = Read-Bytes 'out.log' $Out
        $answer.err = Read-Bytes 'err.log' $Err
    } else { $answer.state = 'none' }
} catch {
    $answer.state = 'error'
    $answer.message = $_.Exception.GetBaseException().Message
}

"@$Token"
ConvertTo-Json -InputObject $answer -Compress
"@$Token"
