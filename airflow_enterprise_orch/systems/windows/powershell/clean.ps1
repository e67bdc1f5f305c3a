# enterprise-orch, verb "clean", version 1
# Removes the tasks and directories of jobs that ended before the given number of days. A small file per key stays, so
# that no key can ever run again.
param(
    [Parameter(Mandatory = $true)] [string] $Token,
    [Parameter(Mandatory = $true)] [string] $Root,
    [Parameter(Mandatory = $true)] [string] $Folder,
    [Parameter(Mandatory = $true)] [int] $Days
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

$answer = @{ v = 1; state = 'cleaned'; message = ''; count = 0 }
try {
    $ended = [IO.Path]::Combine($Root, 'ended')
    [void][IO.Directory]::CreateDirectory($ended)
    [IO.File]::WriteAllText([IO.Path]::Combine($Root, '.cleaned'), [DateTime]::UtcNow.ToString('o'))
    $service = New-Object -ComObject 'Schedule.Service'
    $service.Connect()
    $place = $null
    try { $place = $service.GetFolder($Folder) } catch { $place = $null }
    $limit = [DateTime]::UtcNow.AddDays(-$Days)
    foreach ($found in [IO.Directory]::GetDirectories($Root)) {
        if ($answer.count -ge 500) { break }    # the rest tomorrow: nobody shall wait long for this
        $key = [IO.Path]::GetFileName($found)
        $result = [IO.Path]::Combine($found, 'result.json')
        if ($key -cmatch '^[A-Z][A-Z0-9]{19}$' -and [IO.File]::Exists($result) -and
            [IO.File]::GetLastWriteTimeUtc($result) -lt $limit) {
            [IO.File]::Copy($result, [IO.Path]::Combine($ended, "$key.json"), $true)
            if ($null -ne $place) { try { $place.DeleteTask($key, 0) } catch { $answer.message = "$key has no task" } }
            $trash = [IO.Path]::Combine($Root, ".stage.$Token.$key")
            [IO.Directory]::Move($found, $trash)
            Remove-Item -LiteralPath $trash -Recurse -Force
            $answer.count += 1
        }
    }
    # Left by a hand-over or a clean-up that died.
    foreach ($left in [IO.Directory]::GetDirectories($Root, '.stage.*')) {
        if ([IO.Directory]::GetLastWriteTimeUtc($left) -lt [DateTime]::UtcNow.AddDays(-1)) {
            Remove-Item -LiteralPath $left -Recurse -Force
        }
    }
} catch {
    $answer.state = 'error'
    $answer.message = $_.Exception.GetBaseException().Message
}

"@$Token"
ConvertTo-Json -InputObject $answer -Compress
"@$Token"
