# enterprise-orch, verb "claim", version 1
# Writes what is to be done into a directory named by the key. The directory's name can exist once, so the key can be
# claimed once. Starts nothing.
param(
    [Parameter(Mandatory = $true)] [string] $Token,
    [Parameter(Mandatory = $true)] [string] $Root,
    [Parameter(Mandatory = $true)] [string] $Key,
    [Parameter(Mandatory = $true)] [string] $Job,
    [Parameter(Mandatory = $true)] [string] $Runner
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

$directory = [IO.Path]::Combine($Root, $Key)
$ended = [IO.Path]::Combine($Root, 'ended', "$Key.json")
$stage = [IO.Path]::Combine($Root, ".stage.$Token")
$utf8 = New-Object Text.UTF8Encoding($false)
$cleaned = [IO.Path]::Combine($Root, '.cleaned')
$answer = @{ v = 1; key = $Key; state = 'claimed'; message = ''; due = $false }

if (-not [IO.Directory]::Exists($Root)) {
    $answer.state = 'noroot'
} elseif ([IO.Directory]::Exists($directory) -or [IO.File]::Exists($ended)) {
    $answer.state = 'exists'
} else {
    try {
        [void][IO.Directory]::CreateDirectory($stage)
        [IO.File]::WriteAllText([IO.Path]::Combine($stage, 'job.json'), $Job, $utf8)
        [IO.File]::WriteAllText([IO.Path]::Combine($stage, 'run.ps1'), $Runner, $utf8)
        [IO.Directory]::Move($stage, $directory)
        # A clean-up may have put the key away between the look above and the claim: then it ran already.
        if ([IO.File]::Exists($ended)) {
            [IO.Directory]::Move($directory, $stage)
            $answer.state = 'exists'
        }
    } catch {
        $answer.state = 'error'
        $answer.message = $_.Exception.GetBaseException().Message
        if ([IO.Directory]::Exists($directory)) { $answer.state = 'exists' }
    }
    if ([IO.Directory]::Exists($stage)) { Remove-Item -LiteralPath $stage -Recurse -Force }
}

# Whether a day has passed since the last clean-up of this root.
$answer.due = ((-not [IO.File]::Exists($cleaned)) -or
    [IO.File]::GetLastWriteTimeUtc($cleaned) -lt [DateTime]::UtcNow.AddDays(-1))

"@$Token"
ConvertTo-Json -InputObject $answer -Compress
"@$Token"
