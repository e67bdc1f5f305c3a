# enterprise-orch, "run", version 1
# The action of a job's own task: runs the program of this directory once, and leaves its result in result.json. A
# second start finds started.json and does nothing.
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

$directory = $PSScriptRoot
$utf8 = New-Object Text.UTF8Encoding($false)

function Get-Place([string] $Name) { [IO.Path]::Combine($directory, $Name) }

function Write-Whole([string] $Name, $Value) {
    # To the disk first, then by rename: what has the name is whole, and a crash does not forget it.
    $bytes = $utf8.GetBytes((ConvertTo-Json -InputObject $Value -Compress))
    $file = New-Object IO.FileStream((Get-Place "$Name.tmp"), [IO.FileMode]::Create, [IO.FileAccess]::Write)
    try { $file.Write($bytes, 0, $bytes.Length); $file.Flush($true) } finally { $file.Dispose() }
    [IO.File]::Move((Get-Place "$Name.tmp"), (Get-Place $Name))
}

function Write-Result([string] $Ending, $Code, [string] $Message, [bool] $Cancelled) {
    $result = @{ v = 1; ending = $Ending; code = $Code; message = $Message; cancelled = $Cancelled
        at = [DateTime]::UtcNow.ToString('o') }
    $written = $false
    while (-not $written) {
        # A full disk must not lose a result: until it is written, this process lives and the job counts as running.
        try { Write-Whole -Name 'result.json' -Value $result; $written = $true }
        catch {
            # Nobody can read it any more, or it is there.
            if (-not [IO.Directory]::Exists($directory) -or [IO.File]::Exists((Get-Place 'result.json'))) { exit 1 }
            Start-Sleep -Seconds 10
        }
    }
}

# All that is needed to say that it began comes before the claim: what can fail fails while nobody has it.
$begun = @{ v = 1; at = [DateTime]::UtcNow.ToString('o'); pid = $PID
    boot = (Get-CimInstance -ClassName Win32_OperatingSystem).LastBootUpTime.ToUniversalTime().ToString('o') }
$bytes = $utf8.GetBytes((ConvertTo-Json -InputObject $begun -Compress))
try {
    $claim = New-Object IO.FileStream((Get-Place 'started.json'), [IO.FileMode]::CreateNew, [IO.FileAccess]::Write,
        [IO.FileShare]::Read)
} catch {
    if ([IO.File]::Exists((Get-Place 'started.json'))) { exit 0 }
    throw
}
try { $claim.Write($bytes, 0, $bytes.Length); $claim.Flush($true) } finally { $claim.Dispose() }

if ([IO.File]::Exists((Get-Place 'cancel.json'))) {
    Write-Result -Ending 'cancelled' -Code $null -Message 'cancelled before its program began' -Cancelled $true
    exit 0
}
# The last thing that can fail in here is the start itself: what is caught never began.
try {
    $job = Get-Content -LiteralPath (Get-Place 'job.json') -Raw -Encoding UTF8 | ConvertFrom-Json
    $info = New-Object Diagnostics.ProcessStartInfo
    $info.FileName = $job.program
    $info.Arguments = $job.command_line
    $info.WorkingDirectory = $directory
    if ($job.directory -ne '') { $info.WorkingDirectory = $job.directory }
    $info.UseShellExecute = $false
    $info.CreateNoWindow = $true
    $info.RedirectStandardOutput = $true
    $info.RedirectStandardError = $true
    foreach ($variable in $job.env.PSObject.Properties) {
        $info.EnvironmentVariables[$variable.Name] = [string]$variable.Value
    }
    # Buffers of one byte are none: what the program wrote can be read while it runs.
    $out = New-Object IO.FileStream((Get-Place 'out.log'), [IO.FileMode]::Create, [IO.FileAccess]::Write,
        [IO.FileShare]::Read, 1)
    $err = New-Object IO.FileStream((Get-Place 'err.log'), [IO.FileMode]::Create, [IO.FileAccess]::Write,
        [IO.FileShare]::Read, 1)
    $process = [Diagnostics.Process]::Start($info)
} catch {
    $problem = $_.Exception.GetBaseException()
    $code = $problem.HResult
    if ($problem -is [ComponentModel.Win32Exception]) { $code = -2147024896 + $problem.NativeErrorCode }
    Write-Result -Ending 'rejected' -Code $code -Message $problem.Message -Cancelled $false
    exit 1
}
$copies = [Threading.Tasks.Task[]]@(
    $process.StandardOutput.BaseStream.CopyToAsync($out)
    $process.StandardError.BaseStream.CopyToAsync($err)
)
# Who looks after a death of this script can tell whether the program lives. Without this file nobody can.
try {
    $born = $process.StartTime.ToUniversalTime().ToString('o')
    Write-Whole -Name 'process.json' -Value @{ v = 1; pid = $process.Id; born = $born }
} catch {
    $_.Exception.Message | Out-File -LiteralPath (Get-Place 'run.log') -Append
}

$cancelled = $false
while (-not $process.WaitForExit(500)) {
    if ((-not $cancelled) -and [IO.File]::Exists((Get-Place 'cancel.json'))) {
        $cancelled = $true
        & "$env:SystemRoot\System32\taskkill.exe" /PID $process.Id /T /F | Out-Null
    }
}
# What a program left behind (a daemon) may hold its output open: its own end counts.
try { [void][Threading.Tasks.Task]::WaitAll($copies, 10000) }
catch { $_.Exception.Message | Out-File -LiteralPath (Get-Place 'run.log') -Append }
Write-Result -Ending 'exit' -Code $process.ExitCode -Message '' -Cancelled $cancelled
exit $process.ExitCode
