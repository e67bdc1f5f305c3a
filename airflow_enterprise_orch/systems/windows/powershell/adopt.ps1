# enterprise-orch, verb "adopt", version 1
# Writes down which instance of an existing task belongs to a key whose starter died before it could. Starts nothing.
param(
    [Parameter(Mandatory = $true)] [string] $Token,
    [Parameter(Mandatory = $true)] [string] $Root,
    [Parameter(Mandatory = $true)] [string] $Key,
    [Parameter(Mandatory = $true)] [string] $Guid,
    [Parameter(Mandatory = $true)] [string] $Reason
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

$answer = @{ v = 1; key = $Key; state = 'adopted'; message = '' }
try {
    $begun = @{ v = 1; guid = [string]([Guid]$Guid); at = [DateTime]::UtcNow.ToString('o'); adopted = $Reason }
    $bytes = (New-Object Text.UTF8Encoding($false)).GetBytes((ConvertTo-Json -InputObject $begun -Compress))
    $file = New-Object IO.FileStream([IO.Path]::Combine($Root, $Key, 'started.json'), [IO.FileMode]::CreateNew,
        [IO.FileAccess]::Write, [IO.FileShare]::None)
    try { $file.Write($bytes, 0, $bytes.Length); $file.Flush($true) } finally { $file.Dispose() }
} catch {
    $answer.state = 'error'
    $answer.message = $_.Exception.GetBaseException().Message
    if ([IO.File]::Exists([IO.Path]::Combine($Root, $Key, 'started.json'))) { $answer.state = 'exists' }
}

"@$Token"
ConvertTo-Json -InputObject $answer -Compress
"@$Token"
