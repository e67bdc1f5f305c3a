# enterprise-orch, verb "start", version 1
# Registers the task of a claimed key and starts it. Harmless when repeated: the task is created only if it is not
# there, and run.ps1 runs its program once, however often the task is started.
param(
    [Parameter(Mandatory = $true)] [string] $Token,
    [Parameter(Mandatory = $true)] [string] $Root,
    [Parameter(Mandatory = $true)] [string] $Key,
    [Parameter(Mandatory = $true)] [string] $Folder,
    [string] $User = '',
    [int] $LogonType = 2
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

$directory = [IO.Path]::Combine($Root, $Key)
$utf8 = New-Object Text.UTF8Encoding($false)
$answer = @{ v = 1; key = $Key; state = 'started'; code = 0; message = ''; guid = '' }
if ($User -eq '') { $User = [Security.Principal.WindowsIdentity]::GetCurrent().Name }

if (-not [IO.File]::Exists([IO.Path]::Combine($directory, 'run.ps1'))) {
    $answer.state = 'none'
} elseif (-not [IO.File]::Exists([IO.Path]::Combine($directory, 'started.json'))) {
    try {
        $service = New-Object -ComObject 'Schedule.Service'
        $service.Connect()
        try { $place = $service.GetFolder($Folder) }
        catch {
            try { $place = $service.GetFolder('\').CreateFolder($Folder, $null) }
            catch { $place = $service.GetFolder($Folder) }     # another starter made it in between
        }
        $task = $null
        try { $task = $place.GetTask($Key) } catch { $task = $null }
        if ($null -eq $task) {
            $definition = $service.NewTask(0)
            $definition.RegistrationInfo.Author = 'enterprise-orch'
            $definition.RegistrationInfo.Description = "One job of Airflow, key $Key. Its directory: $directory"
            $definition.Principal.UserId = $User
            $definition.Principal.LogonType = $LogonType
            $settings = $definition.Settings
            $settings.Enabled = $true
            $settings.AllowDemandStart = $true
            $settings.MultipleInstances = 2              # IgnoreNew
            $settings.ExecutionTimeLimit = 'PT0S'        # none: the default would kill it after 72 hours
            $settings.DisallowStartIfOnBatteries = $false
            $settings.StopIfGoingOnBatteries = $false
            $action = $definition.Actions.Create(0)      # run a program
            $action.Path = "$env:SystemRoot\System32\WindowsPowerShell\v1.0\powershell.exe"
            $action.Arguments = "-NoProfile -NonInteractive -ExecutionPolicy Bypass -File `"$directory\run.ps1`""
            $action.WorkingDirectory = $directory
            # 2 is TASK_CREATE: it fails when the name is there, so two starters get one task.
            try { $task = $place.RegisterTaskDefinition($Key, $definition, 2, $User, $null, $LogonType, $null) }
            catch {
                if ($_.Exception.GetBaseException().HResult -ne -2147024713) { throw }   # 0x800700B7: it exists
                $task = $place.GetTask($Key)
            }
        }
        $instance = $null
        try { $instance = $task.Run($null) }
        catch {
            # 0x8004131F, it runs already: another starter was faster, and that is as good.
            if ($_.Exception.GetBaseException().HResult -ne -2147216609) { throw }
        }
        if ($null -ne $instance) { $answer.guid = [string]$instance.InstanceGuid }
        $asked = @{ v = 1; guid = $answer.guid; at = [DateTime]::UtcNow.ToString('o') }
        [IO.File]::WriteAllText([IO.Path]::Combine($directory, 'asked.json'), (ConvertTo-Json $asked -Compress), $utf8)
    } catch {
        $problem = $_.Exception.GetBaseException()
        $answer.state = 'error'
        $answer.code = $problem.HResult
        $answer.message = $problem.Message
    }
}

"@$Token"
ConvertTo-Json -InputObject $answer -Compress
"@$Token"
