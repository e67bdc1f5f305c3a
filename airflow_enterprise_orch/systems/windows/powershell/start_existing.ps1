# enterprise-orch, verb "start_existing", version 2
# Starts a task that is on this machine already, once for a key, and writes down which instance is ours. The task itself
# is not changed. Whoever creates intent.json is the only one who ever starts the task for this key.
param(
    [Parameter(Mandatory = $true)] [string] $Token,
    [Parameter(Mandatory = $true)] [string] $Root,
    [Parameter(Mandatory = $true)] [string] $Key,
    [Parameter(Mandatory = $true)] [string] $Path,
    [string[]] $Values = @()
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

$logName = 'Microsoft-Windows-TaskScheduler/Operational'
$directory = [IO.Path]::Combine($Root, $Key)
$ended = [IO.Path]::Combine($Root, 'ended', "$Key.json")
$utf8 = New-Object Text.UTF8Encoding($false)
$answer = @{ v = 1; key = $Key; state = 'started'; code = 0; message = ''; guid = '' }
$intent = $null

try {
    if (-not [IO.Directory]::Exists($Root)) { $answer.state = 'noroot' }
    elseif ([IO.File]::Exists([IO.Path]::Combine($directory, 'intent.json')) -or [IO.File]::Exists($ended)) {
        $answer.state = 'exists'
    } else {
        # What can be seen beforehand is refused beforehand, and leaves nothing behind.
        $service = New-Object -ComObject 'Schedule.Service'
        $service.Connect()
        $task = $null
        $cut = $Path.LastIndexOf('\')
        $parent = $Path.Substring(0, $cut)
        if ($parent -eq '') { $parent = '\' }
        try { $task = $service.GetFolder($parent).GetTask($Path.Substring($cut + 1)) }
        catch {
            $answer.state = 'refused'
            $answer.code = $_.Exception.GetBaseException().HResult
            $answer.message = 'the task cannot be read: ' + $_.Exception.GetBaseException().Message
        }
        if ($null -ne $task) {
            $settings = $task.Definition.Settings
            if (-not $task.Enabled) {
                $answer.state = 'refused'
                $answer.message = 'the task is disabled'
            } elseif (-not $settings.AllowDemandStart) {
                $answer.state = 'refused'
                $answer.message = 'the task does not allow to be started on demand'
            } elseif ($settings.MultipleInstances -eq 3) {
                $answer.state = 'refused'
                $answer.message = 'the task stops its running instance when it is started again'
            } elseif ($settings.MultipleInstances -eq 2 -and ($task.State -eq 4 -or $task.State -eq 2)) {
                $answer.state = 'busy'
                $answer.message = 'an instance of the task runs already, and the task ignores a second one'
            }
        }
    }
    if ($answer.state -eq 'started') {
        [void][IO.Directory]::CreateDirectory($directory)
        $log = Get-WinEvent -ListLog $logName
        $record = 0
        $anchor = ''
        if ($log.IsEnabled -and $log.RecordCount -gt 0) {
            $newest = Get-WinEvent -LogName $logName -MaxEvents 1
            $record = $newest.RecordId
            $anchor = $newest.TimeCreated.ToUniversalTime().ToString('o')
        }
        $words = @{
            v = 1; path = $Path; record = $record; anchor = $anchor; log = [bool]$log.IsEnabled
            policy = [int]$settings.MultipleInstances
            at = [DateTime]::UtcNow.ToString('o')
            user = [Security.Principal.WindowsIdentity]::GetCurrent().Name
            boot = (Get-CimInstance -ClassName Win32_OperatingSystem).LastBootUpTime.ToUniversalTime().ToString('o')
        }
        $bytes = $utf8.GetBytes((ConvertTo-Json -InputObject $words -Compress))
        try {
            # Open until this script ends: whoever cannot open it for writing knows that we are at it.
            $intent = New-Object IO.FileStream([IO.Path]::Combine($directory, 'intent.json'),
                [IO.FileMode]::CreateNew, [IO.FileAccess]::Write, [IO.FileShare]::Read)
        } catch {
            if (-not [IO.File]::Exists([IO.Path]::Combine($directory, 'intent.json'))) { throw }
            $answer.state = 'exists'
        }
    }
    if ($null -ne $intent) {
        $intent.Write($bytes, 0, $bytes.Length)
        $intent.Flush($true)
        $arguments = $null
        if ($Values.Count -gt 0) { $arguments = $Values }
        $instance = $null
        try { $instance = $task.RunEx($arguments, 0, 0, $null) }
        catch {
            $answer.state = 'failed'
            $answer.code = $_.Exception.GetBaseException().HResult
            $answer.message = $_.Exception.GetBaseException().Message
            # SCHED_E_TASK_DISABLED, SCHED_E_ALREADY_RUNNING, access denied, file not found, refused by an administrator
            if (@(-2147216602, -2147216609, -2147024891, -2147024894, -2147020576) -contains $answer.code) {
                $answer.state = 'refused'
                $result = @{ v = 1; ending = 'rejected'; code = $answer.code; message = $answer.message
                    at = [DateTime]::UtcNow.ToString('o') }
                [IO.File]::WriteAllText([IO.Path]::Combine($directory, 'result.json'),
                    (ConvertTo-Json -InputObject $result -Compress), $utf8)
            }
        }
        if ($null -ne $instance) {
            $answer.guid = [string]$instance.InstanceGuid
            $begun = @{ v = 1; guid = $answer.guid; at = [DateTime]::UtcNow.ToString('o'); adopted = '' }
            [IO.File]::WriteAllText([IO.Path]::Combine($directory, 'started.json'),
                (ConvertTo-Json -InputObject $begun -Compress), $utf8)
        } elseif ($answer.state -eq 'started') {
            $answer.state = 'failed'
            $answer.message = 'Task Scheduler named no instance'
        }
    }
} catch {
    if ($null -eq $intent) { $answer.state = 'error' } else { $answer.state = 'failed' }
    $answer.code = $_.Exception.GetBaseException().HResult
    $answer.message = $_.Exception.GetBaseException().Message
} finally {
    if ($null -ne $intent) { $intent.Dispose() }
}

"@$Token"
ConvertTo-Json -InputObject $answer -Compress
"@$Token"
