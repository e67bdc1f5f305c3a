# enterprise-orch, verb "check", version 1
# Tells whether this machine is set up for jobs of Airflow. Changes nothing.
param(
    [Parameter(Mandatory = $true)] [string] $Token,
    [Parameter(Mandatory = $true)] [string] $Root
)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

$answer = @{ v = 1; state = 'checked'; message = ''; user = ''; administrator = $false; powershell = ''; log = $false
    root = [IO.Directory]::Exists($Root) }
try {
    $me = [Security.Principal.WindowsIdentity]::GetCurrent()
    $answer.user = $me.Name
    $answer.administrator = (New-Object Security.Principal.WindowsPrincipal($me)).IsInRole(
        [Security.Principal.WindowsBuiltInRole]::Administrator)
    $answer.powershell = [string]$PSVersionTable.PSVersion
    $answer.log = [bool](Get-WinEvent -ListLog 'Microsoft-Windows-TaskScheduler/Operational').IsEnabled
    $service = New-Object -ComObject 'Schedule.Service'
    $service.Connect()
} catch {
    $answer.state = 'error'
    $answer.message = $_.Exception.GetBaseException().Message
}

"@$Token"
ConvertTo-Json -InputObject $answer -Compress
"@$Token"
