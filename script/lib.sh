# Shared by script/server and script/test: find a Python, keep one virtual environment up to date, find a Chromium.
# Written for bash 3.2 and newer. Sourced, never run.

root=$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=${ESM_VIZ_VENV:-"$root/.venv"}
case $venv in /*) ;; *) venv=$PWD/$venv ;; esac
python=$venv/bin/python
stamps=$venv/.esm_viz # what the environment was made from: `made`, a copy of each requirements file, or `unfinished`

say() { printf '%s\n' "$1" >&2; }
die() {
    printf 'error: %s\n' "$1" >&2
    exit 1
}

# Print "good|bare|old MAJOR.MINOR" for a Python: new enough and able to make environments, without venv, too old.
judge_python() {
    "$1" - 2>/dev/null <<'PY'
import sys
found = "%d.%d" % sys.version_info[:2]
try:
    import ensurepip, venv
    verdict = "good"
except ImportError:
    verdict = "bare"
print("old" if sys.version_info < (3, 11) else verdict, found)
PY
}

# Set base_python to the first Python that will do, $PYTHON alone where it is set; or end with the reason.
find_python() {
    local candidate verdict bare='' old=''
    base_python=''
    if [ -n "${PYTHON:-}" ]; then set -- "$PYTHON"; else set -- python3.13 python3.12 python3.11 python3 python3.14 python; fi
    for candidate in "$@"; do
        verdict=$(judge_python "$candidate") || continue
        case $verdict in
        good*) base_python=$candidate && return ;;
        bare*) bare=${bare:-"$candidate (${verdict#* })"} ;;
        old*) old=${old:-"$candidate is ${verdict#* }"} ;;
        esac
    done
    [ -z "$bare" ] || die "$bare has no venv or ensurepip, install them (Debian and Ubuntu: the package python3-venv) or set PYTHON to a Python that has them"
    [ -z "$old" ] || die "$old, install Python 3.11 or newer or set PYTHON to one"
    [ -z "${PYTHON:-}" ] || die "PYTHON is set to $PYTHON, which does not run, set it to a Python 3.11 or newer"
    die "no Python was found, install Python 3.11 or newer or set PYTHON to one"
}

# What an environment is: its Python and its place, since it works with no other and nowhere else.
describe_venv() { "$python" -c 'import sys; print("%d.%d" % sys.version_info[:2], sys.prefix)' 2>/dev/null; }

# True where the environment was finished, is where it was made, and has the Python that it was made with (and $PYTHON's).
venv_is_sound() {
    local now
    [ -f "$stamps/made" ] && [ ! -e "$stamps/unfinished" ] || return 1
    now=$(describe_venv) && [ "$now" = "$(cat "$stamps/made")" ] || return 1
    [ -z "${PYTHON:-}" ] || [ "$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "${now%% *}" ]
}

make_venv() {
    find_python
    if [ -e "$venv" ] && [ -n "$(ls -A "$venv" 2>/dev/null)" ] && [ ! -f "$venv/pyvenv.cfg" ] && [ ! -d "$stamps" ]; then
        die "$venv is there and is no virtual environment, move it away or set ESM_VIZ_VENV to another place"
    fi
    say "Making ${venv##*/} with $base_python."
    { rm -rf "$venv" && mkdir -p "$stamps" && : >"$stamps/unfinished"; } 2>/dev/null ||
        die "$venv cannot be written, give yourself the right to write there or set ESM_VIZ_VENV to another place"
    "$base_python" -m venv "$venv" >"$stamps/log" 2>&1 ||
        die "$base_python could not make $venv, read $stamps/log for the reason"
    describe_venv >"$stamps/made" || die "the Python in $venv does not run, set PYTHON to another one"
}

# Install the requirements files that are new or have changed: install NAME...
install() {
    local name log=$stamps/log
    : >"$stamps/unfinished"
    say "Installing $*; the first time takes minutes, since torch is large."
    for name in "$@"; do set -- "$@" -r "$root/$name" && shift; done
    set -- "$python" -m pip install --disable-pip-version-check --no-compile --no-input "$@"
    if [ -t 2 ]; then "$@" </dev/null 2>&1 | tee "$log" >&2; else "$@" </dev/null >"$log" 2>&1; fi || explain "$log"
    rm "$stamps/unfinished"
}

# End with the reason why pip failed, as far as its log tells. Where it had not begun to install, nothing is broken.
explain() {
    grep -q 'Installing collected packages' "$1" || rm "$stamps/unfinished"
    if grep -qi 'no space left' "$1"; then
        die "the disk is full, free about 8 GB and run this again"
    elif grep -qiE 'connection|network|name resolution|timed out|proxy|ssl' "$1"; then
        die "the requirements could not be downloaded, check the network and run this again (the log is $1)"
    fi
    die "the requirements could not be installed, read $1 for pip's reason and run this again"
}

# Make the environment hold these requirements files, touching nothing where it already does: prepare NAME...
prepare() {
    local name changed=''
    mkdir -p "${venv%/*}" 2>/dev/null || true # where this fails, make_venv says so
    if command -v flock >/dev/null 2>&1 && { : >>"$venv.lock"; } 2>/dev/null; then
        exec 9>>"$venv.lock"
        flock -n 9 || { say "Another run is preparing ${venv##*/}, waiting for it." && flock 9; }
    fi
    venv_is_sound || make_venv
    for name in "$@"; do cmp -s "$root/$name" "$stamps/$name" || changed=yes; done
    if [ -n "$changed" ]; then
        install "$@"
        for name in "$@"; do cp "$root/$name" "$stamps/$name"; done
    elif [ -e "$stamps/unfinished" ]; then
        rm "$stamps/unfinished"
    fi
    exec 9>&-
}

# True for a browser that starts; a distribution's placeholder that only says what to install does not.
runs() { [ -n "$1" ] && "$1" --version >/dev/null 2>&1 </dev/null; }

find_chromium() {
    local candidate
    for candidate in "${ESM_VIZ_CHROMIUM:-}" chromium chromium-browser google-chrome google-chrome-stable \
        "/Applications/Chromium.app/Contents/MacOS/Chromium" "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"; do
        candidate=$(command -v "$candidate" 2>/dev/null) && runs "$candidate" && chromium=$candidate && return
    done
    return 1
}

# Debian's package, where we may install it without asking for a password.
install_debian_chromium() {
    local as_root=''
    [ -f /etc/debian_version ] && command -v apt-get >/dev/null 2>&1 || return 1
    if [ "$(id -u)" != 0 ]; then sudo -n true 2>/dev/null && as_root='sudo -n' || return 1; fi
    say "Installing Chromium with apt-get."
    $as_root apt-get update </dev/null >/dev/null 2>&1
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium </dev/null >/dev/null 2>&1
}

# Playwright's own download, which it keeps in its cache between runs.
find_playwright_chromium() {
    local path
    path=$("$python" -c 'from playwright.sync_api import sync_playwright as start
with start() as playwright: print(playwright.chromium.executable_path)' 2>/dev/null) || return 1
    runs "$path" || { say "Downloading Chromium with playwright." && "$python" -m playwright install chromium </dev/null >/dev/null 2>&1; }
    runs "$path" && chromium=$path
}

# Export ESM_VIZ_CHROMIUM, the browser of the end-to-end tests.
prepare_chromium() {
    find_chromium || { install_debian_chromium && find_chromium; } || find_playwright_chromium ||
        die "no Chromium was found or could be installed, install one or set ESM_VIZ_CHROMIUM to its path"
    export ESM_VIZ_CHROMIUM=$chromium
}
