# shellcheck shell=sh disable=SC2154
# Head of a driver archive, written by makeself (--header), which sets the variables of the first part.
#
# It answers what is asked of NVIDIA's own archives (makeself 1.6.0-nv9, their fork): --extract-only or -x, --target,
# --check, --list, --info; refuses a target that exists; checks its sums before it unpacks; one zstd stream follows.
cat >"$archname" <<EOF
#!/bin/sh
# Made for tests from files of this machine's package archive. Not to be given to others.
skip=$((SKIP + 1))
label="$LABEL"
targetdir="$archdirname"
crc="$CRCsum"
md5="$MD5sum"
EOF
cat >>"$archname" <<'EOF'

usage() {
    echo "$0 [options]: $label"
    echo "  -x, --extract-only  unpack into $targetdir below the current folder"
    echo "  --target DIR        unpack into DIR, which must not exist"
    echo "  --check             compare the checksums and exit"
    echo "  --list              print what is inside and exit"
    echo "  --info              print the title and exit"
}

fail() {
    echo "$1" >&2
    exit "${2:-1}"
}

payload() {
    tail -n "+$skip" "$archive"
}

check() {
    [ "$(payload | cksum | cut -d' ' -f1)" = "$crc" ] || fail "Error in check sums of $archive" 2
    [ "$(payload | md5sum | cut -d' ' -f1)" = "$md5" ] || fail "Error in md5 sums of $archive" 2
}

archive=$0
extract=n
while [ $# -gt 0 ]; do
    case "$1" in
    -h | --help) usage && exit 0 ;;
    --info) echo "  Identification    : $label" && exit 0 ;;
    --check) check && echo "check sums and md5 sums are ok" && exit 0 ;;
    --list) payload | zstd -dc | tar tvf - && exit 0 ;;
    -x | --extract-only) extract=y ;;
    --target)
        [ -n "$2" ] || fail "ERROR: --target: no target directory specified."
        targetdir=$2
        shift
        ;;
    --keep | --silent | -s) ;;
    *) fail "ERROR: $1: this archive can only be unpacked." ;;
    esac
    shift
done
[ "$extract" = y ] || fail "ERROR: there is no installer in this archive: use --extract-only."
command -v zstd >/dev/null || fail "ERROR: zstd is not installed."
echo "Creating directory $targetdir"
if [ -e "$targetdir" ]; then
    fail "The directory '$targetdir' already exists. Please either move it out of the way, or use --target."
fi
check
mkdir -p "$targetdir" || fail "Unable to create the target directory '$targetdir'."
payload | zstd -dc | tar xpf - -C "$targetdir" || fail "Cannot decompress $archive"
exit 0
EOF
