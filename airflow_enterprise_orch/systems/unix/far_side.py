"""What runs on the UNIX host: POSIX sh programs and the layout of a job's directory.

Layout, below the job root (``~/.enterprise-orch/jobs`` unless the connection says otherwise)::

    <KEY>/              one job; its name is the delegation key, its existence is the claim
      run, launch       the programs below, for people to read
      interpreter script args/0000.. env/NAME directory     what is to be done, as plain files
      pid               "PID BOOT HOST TOKEN BORN": who holds the claim, and when that process was born
      started out.log   when the script began; all that it wrote
      cancel            somebody asked for its end, and when
      exit              "exit 3 <when>", "signal 9 <when>" or "rejected 0 <when>"; appears by rename, so it is whole
    .stage.<TOKEN>/     a job that is being handed over; nobody's job yet
    ended.txt           one line per job whose directory was cleaned away: the key stays taken

How a job is handed over (``SUBMIT``, then ``LAUNCH``, then ``RUN``), and why every crash point is safe:

1. Everything is written to ``.stage.<TOKEN>/<KEY>``, TOKEN being random for each submit. *Dies here:* nobody ever looks
   at a stage again; the key is absent, and the next submit begins anew. A cut transfer is noticed by its last file.
2. ``LAUNCH``, a process of its own with stdio closed and SIGHUP ignored, writes its *own* pid, boot id, host and birth
   into ``pid``. *Dies here:* as 1.
3. It renames ``.stage.<TOKEN>/<KEY>`` to ``<KEY>``. rename(2) of a directory fails if the target is a directory with
   something in it, so of several submits exactly one wins, and the claim names its holder from its very first moment.
   ``mv`` gets the job root as target, not ``<KEY>``: it can never move one job into another. Who won is read back from
   ``pid``, not from mv's exit status (NFS may answer a repeated rename with an error though the first one worked).
   *Loses:* it runs nothing, and the job of the winner is adopted.
4. It *becomes* the job: exec setsid, exec sh ``run``. The pid stays, as it leads no process group and so setsid(1) does
   not fork. *Dies here, or at any later point without leaving* ``exit``: the process in ``pid`` is gone, which anybody
   can prove, and the job is LOST: it is neither taken for running for ever, nor run by anybody else.
5. The answer travels back. *Connection dies:* the job goes on, ``find`` sees the claim.

"Gone" means: another boot of the same host, or no process with that pid and that birth, and no living process in its
process group either. On another host than the claim's (a job root shared by several) nobody can tell.

A cleaned-away job leaves its line in ``ended.txt`` before its directory is renamed away; ``LAUNCH`` looks there after
its claim, so that a key can never run twice, however old.
"""

from __future__ import annotations

BOOTSTRAP = """exec /bin/sh -c 'eval "$(dd bs=1 count={count} 2>/dev/null)"' orch:{operation} {words}"""
"""The command line: the same few words for every login shell (sh, csh, fish). dd takes exactly the program from stdin
(bs=1 never reads on), the program takes the rest. No value travels here but the key, the root and random tokens, which
are checked to be plain words. The word ``orch:<operation>`` tells people in ``ps`` what this is."""

COMMON = r"""
set -f; unset CDPATH
key=$1 token=$2 root=$3 base=/
case $root in /*) ;; *) base=$HOME root=$HOME/$root;; esac
host=$(uname -n)
boot=-
{ read -r boot </proc/sys/kernel/random/boot_id; } 2>/dev/null
# born PID: puts its birth into $birth, in words that are the same whenever asked; fails for what does not live
if [ -r /proc/self/stat ]; then
  born() {
    { read -r line </proc/$1/stat; } 2>/dev/null || return 1
    set -- ${line##*\)}                # proc_pid_stat(5): the state comes after the name, the start time 19 fields on
    case $1 in Z|X) return 1;; esac
    birth=${20}
  }
  group_lives() { cat /proc/[0-9]*/stat 2>/dev/null |
    awk -v group="$1" '{ sub(/^.*\) /, ""); if ($3 == group && $1 != "Z" && $1 != "X") found = 1 }
                       END { exit !found }'; }
else
  born() { birth=$(echo $(LC_ALL=C ps -o lstart= -p "$1" 2>/dev/null)); kill -0 "$1" 2>/dev/null; }
  group_lives() { kill -0 -- "-$1" 2>/dev/null; }
fi
"""

STATE = r"""
# ours_lives: the process that holds the claim (pid, boot_then, host_then, birth_then), or one of its group, lives
ours_lives() {
  [ "$boot_then" = "$boot" ] || return 1
  if born "$pid"; then
    [ "$birth" = "$birth_then" ] && return 0
    return 1                           # the pid serves another process, so the group that had its number is gone
  fi
  set +f; group_lives "$pid"; lives=$?; set -f
  return $lives
}
# state KEY: one line "KEY STATE KIND NUMBER ENDED STARTED CANCEL PID HOST"
state() {
  dir=$root/$1 kind=- number=- ended=- started=- cancel=- pid=- host_then=- word=
  if { read -r pid boot_then host_then owner birth_then <"$dir/pid"; } 2>/dev/null; then
    { read -r started <"$dir/started"; } 2>/dev/null || started=-
    if { read -r kind number ended <"$dir/exit"; } 2>/dev/null; then word=ended
    elif [ "$host_then" != "$host" ]; then word=elsewhere
    elif ours_lives; then word=running
    # it may have left its result and gone between the two looks
    elif { read -r kind number ended <"$dir/exit"; } 2>/dev/null; then word=ended
    elif [ -d "$dir" ]; then word=lost
    fi
    [ -f "$dir/cancel" ] && cancel=cancel
  elif [ -d "$dir" ]; then word=broken
  fi
  if [ -z "$word" ]; then              # no directory, or it was cleaned away while we looked: ended.txt came first
    line=$(grep "^$1 " "$root/ended.txt" 2>/dev/null | head -n 1)
    if [ -n "$line" ]; then printf '%s\n' "$line"; return; fi
    word=none
  fi
  [ "$word" = ended ] || { kind=- number=- ended=-; }
  printf '%s\n' "$1 $word ${kind:--} ${number:--} ${ended:--} ${started:--} $cancel $pid $host_then"
}
"""

LOOK = (
    COMMON
    + STATE
    + r"""
printf '@%s\n' "$token"
if [ ! -d "$base" ]; then echo "error there is no home directory $base"
elif [ ! -d "$root" ]; then echo "noroot $root"
else while read -r each; do state "$each"; done
fi
printf '@%s\n' "$token"
"""
)
"""Prints the state of every key that comes on stdin, without starting a process for the living and the ended."""

SUBMIT = (
    COMMON
    + STATE
    + r"""
days=$4
printf '@%s\n' "$token"
fail() { printf 'error %s\n' "$1"; printf '@%s\n' "$token"; rm -rf "$root/.stage.$token"; exit 0; }
mask=$(umask); umask 077
[ -d "$base" ] || fail "there is no home directory $base"
said=$(mkdir -p "$root" 2>&1) || fail "$said"
if [ ! -d "$root/$key" ]; then
  for detach in setsid perl python3 none; do command -v $detach >/dev/null 2>&1 && break; done
  [ $detach = none ] && fail "neither setsid nor perl nor python3 is installed: nothing can detach a job"
  stage=$root/.stage.$token
  said=$( { mkdir "$stage" "$stage/$key" && cd "$stage/$key" && tar xof - ; } 2>&1) || fail "$said"
  [ -f "$stage/$key/complete" ] || fail "the work did not arrive whole"
  said=$( { printf '%s\n' "$mask" >"$stage/$key/umask"; } 2>&1) || fail "$said"
  # The answer is complete when the launcher has closed descriptor 3: it has become the job, or ended.
  said=$(/bin/sh "$stage/$key/launch" "$key" "$token" "$root" "$detach" 3>&1 </dev/null >/dev/null 2>&1 &)
  # No word from it: it died, before its claim or after. In the second case the job is there, and lost.
  case $said in launched|exists) ;; *) [ -d "$root/$key" ] || fail "${said:-the launcher ended without a claim}";; esac
fi
state "$key"
printf '@%s\n' "$token"
( trap '' HUP; set +f; umask 077
  # Cleaning, once a day at most. Only what has ended, and what no submit can be at work on any more.
  [ -n "$(find "$root/.cleaned" -mtime -1 2>/dev/null)" ] && exit
  : >"$root/.cleaned"
  mkdir "$root/.trash.$token" || exit
  find "$root" -type f -name exit -mtime "+$days" 2>/dev/null | while read -r found; do
    dir=${found%/exit}; old=${dir##*/}
    [ "$dir" = "$root/$old" ] || continue
    case $old in .*) continue;; esac
    line=$(set -f; state "$old")
    case $line in "$old ended "*) ;; *) continue;; esac
    printf '%s\n' "$line" >>"$root/ended.txt" && mv "$dir" "$root/.trash.$token/"
  done
  rm -rf "$root/.trash.$token"
  for left in "$root"/.stage.* "$root"/.trash.*; do
    [ -n "$(find "$left" -prune -mtime +1 2>/dev/null)" ] && rm -rf "$left"
  done
) </dev/null >/dev/null 2>&1 &
"""
)
"""Hands a job over; the tar archive of its files follows on stdin."""

LAUNCH = (
    r"""# Claims the key for this very process, then becomes the job.
{
trap '' HUP
"""
    + COMMON
    + r"""
say() { (trap '' PIPE; printf '%s\n' "$1" >&3) 2>/dev/null; }  # whoever asked may be gone: the job goes on
detach=$4 stage=$root/.stage.$token
cd "$stage/$key" || exit 1
pid=$$
born $$ || { say "error: this process cannot see its own birth in /proc or ps"; exit 1; }
printf '%s %s %s %s %s\n' $$ "$boot" "$host" "$token" "$birth" >pid || { say "error: pid cannot be written"; exit 1; }
moved=$(mv "$stage/$key" "$root/" 2>&1 </dev/null)
owner=
{ read -r holder boot_then host_then owner birth_then <"$root/$key/pid"; } 2>/dev/null
if [ "$owner" != "$token" ]; then
  if [ -d "$root/$key" ]; then say exists; else say "${moved:-the claim failed}"; fi
  rm -rf "$stage"
  exit 0
fi
rmdir "$stage"
if grep "^$key " "$root/ended.txt" >/dev/null 2>&1; then
  mv "$root/$key" "$root/.stage.again.$token" && say exists     # it ran and was cleaned away: never again
  exit 0
fi
# A host that crashes must not forget a job whose script has begun to act.
sync "$root/$key/pid" "$root/$key" "$root" 2>/dev/null
say launched
case $detach in
  setsid) exec setsid /bin/sh "$root/$key/run" 3>&- ;;
  perl) exec perl -MPOSIX -e 'POSIX::setsid(); exec @ARGV' /bin/sh "$root/$key/run" 3>&- ;;
  *) exec python3 -c 'import os, sys; os.setsid(); os.execv(sys.argv[1], sys.argv[1:])' /bin/sh "$root/$key/run" 3>&- ;;
esac
}
"""
)

RUN = r"""# Runs the script of this directory and leaves its result in the file exit.
{
dir=${0%/run}
cd "$dir" || exit 1
trap : TERM                          # a cancel ends the script; this must live to say how
unset CDPATH
stamp() { date -u +%Y-%m-%dT%H:%M:%SZ; }
leave() {
  # A full disk must not lose a result: until it is written, this process lives and the job counts as running.
  until printf '%s %s\n' "$1" "$(stamp)" 2>/dev/null >exit.tmp; do
    [ -d "$dir" ] || exit 1
    sleep 10
  done
  sync exit.tmp 2>/dev/null
  until mv exit.tmp exit; do
    [ -d "$dir" ] || exit 1
    sleep 10
  done
  exit 0
}
never() { echo "$1" >>out.log; leave 'rejected 0'; }
# Command substitution takes newlines from the end; the dot keeps them. What cannot be read must not become "".
value() { cat "$1" && printf .; }
stamp >started
[ -f cancel ] && leave 'signal 15'
true >>out.log || leave 'rejected 0'
interpreter=$(value interpreter) || never "the file interpreter cannot be read"
place=$(value directory) || never "the file directory cannot be read"
interpreter=${interpreter%?.} place=${place%?.}
set --
for file in args/*; do
  [ -f "$file" ] || continue
  text=$(value "$file") || never "the file $file cannot be read"
  set -- "$@" "${text%.}"
done
set -- "$interpreter" "$dir/script" "$@"
for file in env/*; do
  [ -f "$file" ] || continue
  text=$(value "$file") || never "the file $file cannot be read"
  set -- "${file#env/}=${text%.}" "$@"
done
if [ ! -x "$interpreter" ] || [ -d "$interpreter" ]; then
  never "the interpreter $interpreter is not there, or not to be executed"
fi
if ! (cd "${place:-$HOME}") 2>>out.log; then leave 'rejected 0'; fi
mask=$(cat umask)
( exec </dev/null >>out.log 2>&1; cd "${place:-$HOME}" && umask "$mask" && exec env "$@"
  exit 126 )
rc=$?
# What every shell says of a death by signal: 128 + its number (ksh93: 256 + its number)
if [ $rc -gt 256 ]; then leave "signal $((rc - 256))"
elif [ $rc -gt 128 ] && [ $rc -lt 160 ]; then leave "signal $((rc - 128))"
else leave "exit $rc"
fi
}
"""

CANCEL = (
    COMMON
    + STATE
    + r"""
grace=$4
printf '@%s\n' "$token"
state "$key" >/dev/null
case $word in
  running)
    { date -u +%Y-%m-%dT%H:%M:%SZ >"$root/$key/cancel"; } 2>&1 && {
      # The group, and the process itself: it may not have become the leader of a group yet.
      kill -s TERM -- "-$pid" 2>/dev/null
      kill -s TERM "$pid" 2>/dev/null
      ( trap '' HUP; sleep "$grace"
        if ours_lives; then kill -s KILL -- "-$pid"; kill -s KILL "$pid"; fi ) </dev/null >/dev/null 2>&1 &
      echo asked
    } ;;
  *) echo "${word:-ended}" ;;
esac
printf '@%s\n' "$token"
"""
)
"""Records that a cancel was asked for, then TERM, then KILL after the grace period from a process of its own."""

READ = (
    COMMON
    + r"""
printf '@%s\n' "$token"
log=$root/$key/out.log
if [ -f "$log" ]; then
  case $4 in
    from) echo log; tail -c "+$(($5 + 1))" "$log" | head -c "$6" ;;
    tail) echo log; tail -n "$5" "$log" | tail -c "$6" ;;
  esac
elif [ -d "$root/$key" ]; then echo log
else echo none
fi
printf '@%s\n' "$token"
"""
)
"""Reads the log: ``from OFFSET LIMIT`` or ``tail LINES LIMIT``."""


def program(text: str) -> bytes:
    """Return a program as it travels: one brace group, which a shell runs whole or, cut short, not at all."""
    return b"{\n" + text.strip().encode("ascii") + b"\n}"
