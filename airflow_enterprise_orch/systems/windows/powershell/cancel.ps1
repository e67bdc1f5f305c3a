# enterprise-orch, verb "cancel", version 2
# Ends exactly the instance that belongs to a key. What never began is sealed: it can never begin after that.
param(
    [Parameter(Mandatory = $true)] [string] $Token,
    [Parameter(Mandatory = $true)] [string] $Root,
    [Parameter(Mandatory = $true)] [string] $Key,
    [Parameter(Mandatory = $true)] [string] $Ending,
    [string] $Message = ''
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

$logName = 'Microsoft-Windows-TaskScheduler/Operational'
$directory = [IO.Path]::Combine($Root, $Key)
$utf8 = New-Object Text.UTF8Encoding($false)
$answer = @{ v = 1; key = $Key; state = 'asked'; message = '' }
$words = ConvertTo-Json -InputObject @{ v = 1; at = [DateTime]::UtcNow.ToString('o') } -Compress
$result = @{ v = 1; ending = $Ending; code = $null; message = $Message; cancelled = ($Ending -eq 'cancelled')
    at = [DateTime]::UtcNow.ToString('o') }

function Get-OtherStarter([Guid] $Guid) {
    # Where a second instance was ignored, the GUID may be that of a colleague's run: event 110 names who started it.
    $intent = Get-Content -LiteralPath ([IO.Path]::Combine($directory, 'intent.json')) -Raw -Encoding UTF8 |
        ConvertFrom-Json
    $log = Get-WinEvent -ListLog $logName
    if (-not $log.IsEnabled) { return '' }
    $query = "*[System[EventID=110 and Correlation[@ActivityID='{$($Guid.ToString().ToUpperInvariant())}']]]"
    try { $found = @(Get-WinEvent -LogName $logName -FilterXPath $query -Oldest) }
    catch {
        if ($_.FullyQualifiedErrorId -like 'NoMatchingEventsFound*') { return '' }
        throw
    }
    $other = ''
    foreach ($record in $found) {
        foreach ($entry in ([xml]$record.ToXml()).Event.EventData.Data) {
            if ($entry.GetAttribute('Name') -ne 'UserContext' -or $entry.InnerText -eq '') { continue }
            if ($entry.InnerText -eq $intent.user) { return '' }
            $other = $entry.InnerText
        }
    }
    return $other
}

try {
    if ([IO.File]::Exists([IO.Path]::Combine($directory, 'result.json'))) { $answer.state = 'ended' }
    elseif ([IO.File]::Exists([IO.Path]::Combine($directory, 'job.json'))) {
        # run.ps1 looks for cancel.json after it made started.json; we make them in the other order, so one of us sees
        # the other.
        if ($Ending -eq 'cancelled') {
            [IO.File]::WriteAllText([IO.Path]::Combine($directory, 'cancel.json'), $words, $utf8)
        }
        $claim = $null
        try {
            $claim = New-Object IO.FileStream([IO.Path]::Combine($directory, 'started.json'), [IO.FileMode]::CreateNew,
                [IO.FileAccess]::Write, [IO.FileShare]::Read)
        } catch {
            if (-not [IO.File]::Exists([IO.Path]::Combine($directory, 'started.json'))) { throw }
        }
        if ($null -ne $claim) {
            $claim.Dispose()
            [IO.File]::WriteAllText([IO.Path]::Combine($directory, 'result.json'),
                (ConvertTo-Json -InputObject $result -Compress), $utf8)
            $answer.state = 'sealed'
        }
    } elseif ([IO.File]::Exists([IO.Path]::Combine($directory, 'started.json'))) {
        $file = [IO.Path]::Combine($directory, 'started.json')
        $begun = Get-Content -LiteralPath $file -Raw -Encoding UTF8 | ConvertFrom-Json
        $service = New-Object -ComObject 'Schedule.Service'
        $service.Connect()
        $answer.state = 'gone'
        $others = ''
        if ($begun.adopted -eq '') { $others = Get-OtherStarter ([Guid]$begun.guid) }
        foreach ($instance in $service.GetRunningTasks(1)) {
            if ([Guid]$instance.InstanceGuid -eq [Guid]$begun.guid -and $others -ne '') {
                $answer.state = 'unknown'
                $answer.message = "$others started the instance that Task Scheduler named; it is not ours to end"
            } elseif ([Guid]$instance.InstanceGuid -eq [Guid]$begun.guid) {
                [IO.File]::WriteAllText([IO.Path]::Combine($directory, 'cancel.json'), $words, $utf8)
                $instance.Stop()
                $answer.state = 'asked'
            }
        }
    } elseif ([IO.File]::Exists([IO.Path]::Combine($directory, 'intent.json'))) { $answer.state = 'unknown' }
    else { $answer.state = 'none' }
} catch {
    $answer.state = 'error'
    $answer.message = $_.Exception.GetBaseException().Message
}

"@$Token"
ConvertTo-Json -InputObject $answer -Compress
"@$Token"
