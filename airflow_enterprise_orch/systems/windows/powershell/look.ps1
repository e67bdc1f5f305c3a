# enterprise-orch, verb "look", version 1
# Tells what is known of many keys in one call: their files, their instances, their event records. Decides and changes
# nothing. Purpose says who asks (find, poll, result), for this machine's own records of scripts.
param(
    [Parameter(Mandatory = $true)] [string] $Token,
    [Parameter(Mandatory = $true)] [string] $Root,
    [Parameter(Mandatory = $true)] [string] $Folder,
    [Parameter(Mandatory = $true)] [string[]] $Keys,
    [Parameter(Mandatory = $true)] [string] $Purpose
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

$logName = 'Microsoft-Windows-TaskScheduler/Operational'
$pause = @{ taken = $false }
$answer = @{ v = 1; state = 'seen'; message = ''; now = ''; boot = ''; log = $null; jobs = @() }

function Read-Words([string] $File) {
    # A file may be cleaned away, or be half written, while we look: then it is not there yet.
    try {
        if ([IO.File]::Exists($File)) {
            return (Get-Content -LiteralPath $File -Raw -Encoding UTF8 | ConvertFrom-Json)
        }
    } catch { return $null }
    return $null
}

function Read-Events([string] $Query) {
    # Get-WinEvent calls it an error when nothing matches; what else goes wrong must be heard.
    try { $found = @(Get-WinEvent -LogName $logName -FilterXPath $Query -Oldest) }
    catch {
        if ($_.FullyQualifiedErrorId -like 'NoMatchingEventsFound*') { return @() }
        throw
    }
    foreach ($record in $found) {
        $data = @{}
        foreach ($entry in ([xml]$record.ToXml()).Event.EventData.Data) {
            $data[$entry.GetAttribute('Name')] = $entry.InnerText
        }
        @{ id = $record.Id; record = $record.RecordId; task = $data['TaskName']; user = $data['UserContext']
            code = $data['ResultCode']; at = $record.TimeCreated.ToUniversalTime().ToString('o')
            guid = "$($data['InstanceId'])$($data['TaskInstanceId'])".Trim('{}') }
    }
}

function Read-Job([string] $Key, $Running, $Place) {
    $directory = [IO.Path]::Combine($Root, $Key)
    $job = @{ key = $Key; mode = 'none'; locked = $false; begun = $false; task_state = $null; last_result = $null
        live = $null; alive = $null; events = @(); triggered = @(); anchor = '' }
    # What runs is asked first, then the files: what ends in between has left its result before it stopped to run.
    if ($null -ne $Place) {
        try {
            $task = $Place.GetTask($Key)
            $job.task_state = $task.State
            $job.last_result = $task.LastTaskResult
        } catch { $job.task_state = $null }
    }
    foreach ($name in 'job', 'intent', 'asked', 'started', 'process', 'cancel', 'result') {
        $job[$name] = Read-Words ([IO.Path]::Combine($directory, "$name.json"))
    }
    $job.begun = [IO.File]::Exists([IO.Path]::Combine($directory, 'started.json'))
    # Only that there is one: what is to be done may be long, and is nobody's business here.
    if ($null -ne $job.job) { $job.mode = 'own' } elseif ($null -ne $job.intent) { $job.mode = 'task' }
    $job.Remove('job')
    if ($job.mode -eq 'none') {
        $job.ended = Read-Words ([IO.Path]::Combine($Root, 'ended', "$Key.json"))
        if ($null -ne $job.ended) { $job.mode = 'ended' }
        elseif ([IO.Directory]::Exists($directory) -and [IO.Directory]::GetFileSystemEntries($directory).Length -gt 0) {
            $job.mode = 'broken'
        }
    }
    if ($job.mode -eq 'own' -and $null -eq $job.result -and $null -ne $job.process) {
        $job.alive = $false
        try {
            $process = Get-Process -Id $job.process.pid -ErrorAction SilentlyContinue
            if ($null -ne $process) {
                $job.alive = ($process.StartTime.ToUniversalTime().ToString('o') -eq $job.process.born)
            }
        } catch { $job.alive = $null }      # a process that this account may not look at
    }
    if ($job.mode -eq 'task') {
        $intent = $job.intent
        if ($null -ne $job.started) {
            $guid = [string]([Guid]$job.started.guid)
            if ($Running.ContainsKey($guid)) { $job.live = $Running[$guid] }
            if ($null -eq $job.live -and $answer.log.enabled) {
                $query = "*[System[Correlation[@ActivityID='{$($guid.ToUpperInvariant())}']]]"
                $job.events = @(Read-Events $query)
                $ends = @($job.events | Where-Object { 101, 102, 103, 111, 202, 203 -contains $_.id })
                if ($ends.Count -eq 0) {
                    # The log is written a little behind the task. One pause serves all keys of this call.
                    if (-not $pause.taken) { Start-Sleep -Seconds 2; $pause.taken = $true }
                    $job.events = @(Read-Events $query)
                }
            }
        } else {
            $file = $null
            try {
                $file = [IO.File]::Open([IO.Path]::Combine($directory, 'intent.json'), [IO.FileMode]::Open,
                    [IO.FileAccess]::Write, [IO.FileShare]::ReadWrite)
            } catch { $job.locked = $true }
            finally { if ($null -ne $file) { $file.Dispose() } }
            if ($answer.log.enabled -and $intent.log) {
                foreach ($record in @(Read-Events "*[System[EventRecordID=$([long]$intent.record)]]")) {
                    $job.anchor = $record.at
                }
                $query = "*[System[(EventID=100 or EventID=110) and EventRecordID > $([long]$intent.record)]]"
                $job.triggered = @(Read-Events $query | Where-Object { $_.task -eq $intent.path })
            }
        }
        try {
            $cut = $intent.path.LastIndexOf('\')
            $parent = $intent.path.Substring(0, $cut)
            if ($parent -eq '') { $parent = '\' }
            $job.task_state = $service.GetFolder($parent).GetTask($intent.path.Substring($cut + 1)).State
        } catch { $job.task_state = $null }
    }
    return $job
}

try {
    if (-not [IO.Directory]::Exists($Root)) { $answer.state = 'noroot' }
    else {
        $service = New-Object -ComObject 'Schedule.Service'
        $service.Connect()
        $running = @{}
        foreach ($instance in $service.GetRunningTasks(1)) {
            $running[[string]([Guid]$instance.InstanceGuid)] = $instance.State
        }
        $place = $null
        try { $place = $service.GetFolder($Folder) } catch { $place = $null }
        $log = Get-WinEvent -ListLog $logName
        $answer.log = @{ enabled = [bool]$log.IsEnabled; oldest = $null; newest = $null }
        if ($log.IsEnabled -and $log.RecordCount -gt 0) {
            $answer.log.oldest = (Get-WinEvent -LogName $logName -MaxEvents 1 -Oldest).RecordId
            $answer.log.newest = (Get-WinEvent -LogName $logName -MaxEvents 1).RecordId
        }
        $answer.now = [DateTime]::UtcNow.ToString('o')
        $answer.boot = (Get-CimInstance -ClassName Win32_OperatingSystem).LastBootUpTime.ToUniversalTime().ToString('o')
        $answer.jobs = @(foreach ($each in $Keys) { Read-Job $each $running $place })
    }
} catch {
    $answer.state = 'error'
    $answer.message = $_.Exception.GetBaseException().Message
}

"@$Token"
ConvertTo-Json -InputObject $answer -Compress -Depth 8
"@$Token"
