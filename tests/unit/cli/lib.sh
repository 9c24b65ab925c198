# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=sh
# What the tests of sallyportctl have in common: a folder of their own, a software TPM in it, and
# expectations of a command.

dir=$(mktemp -d)
swtpm= others= # process numbers
finish() {
        # shellcheck disable=SC2086 # a list
        [ -z "$swtpm$others" ] || kill $swtpm $others 2>/dev/null || true
        rm -rf "$dir"
}
trap finish EXIT
trap 'exit 1' INT TERM

n=0
ok() {
        n=$((n + 1))
        echo "ok $n - $1"
}
die() {
        echo "not ok - $1" >&2
        [ ! -s "$dir/err" ] || cat "$dir/err" >&2
        exit 1
}
# EXIT-CODE TEXT COMMAND...: the command ends with the code and its standard error or output has
# the text.
expect() {
        code=$1 text=$2
        shift 2
        got=0
        "$@" >"$dir/out" 2>"$dir/err" || got=$?
        [ "$got" = "$code" ] || die "exit code $got, not $code: $*"
        [ -z "$text" ] || grep -qF -- "$text" "$dir/out" "$dir/err" ||
                die "no \"$text\" from: $*"
}

# The software TPM whose state is in $dir/tpm, at swtpm:path=$dir/sock.
start_tpm() {
        rm -f "$dir/sock" "$dir/sock.ctrl"
        swtpm socket --tpm2 --tpmstate "dir=$dir/tpm" --server "type=unixio,path=$dir/sock" \
                --ctrl "type=unixio,path=$dir/sock.ctrl" --flags not-need-init,startup-clear \
                >"$dir/swtpm.log" 2>&1 &
        swtpm=$!
        i=0
        until [ -S "$dir/sock" ] && [ -S "$dir/sock.ctrl" ]; do
                i=$((i + 1))
                [ "$i" -lt 100 ] || die "swtpm did not start"
                sleep 0.05
        done
}

stop_tpm() {
        kill "$swtpm"
        wait "$swtpm" 2>/dev/null || true
        swtpm=
}
