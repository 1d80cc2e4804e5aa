#!/usr/bin/env bash
# Shows that the tests find faults. Each testdata/mutants/*.patch breaks the code in one
# way, and its first line is the command of a test that must fail then. All are tried,
# or those that are named, or with --random N so many of them by chance.
#
# The patches are applied to a copy of the files that git knows, one after the other.
# The test must fail because of the patch: that it does not build, panics, takes too
# long, or fails without the patch too, proves nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
museum=$PWD/testdata/mutants

names=()
for patch in "$museum"/*.patch; do names+=("$(basename "$patch" .patch)"); done
all=("${names[@]}")
if [[ ${1:-} == --random ]]; then
	mapfile -t names < <(shuf -n "${2:?how many?}" -e "${all[@]}")
	echo "by chance: scripts/mutants.sh ${names[*]}"
elif [[ $# -gt 0 ]]; then
	names=("${@##*/}")
	names=("${names[@]%.patch}")
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
copy=$work/copy
mkdir "$copy"
git ls-files -z --cached --others --exclude-standard | tar --null --ignore-failed-read -T - -c 2>/dev/null | tar -x -C "$copy"
cd "$copy"
export GIT_CEILING_DIRECTORIES=$work # the copy is in no repository
export GOFLAGS="${GOFLAGS:-} -count=1 -vet=off -timeout=150s"

failed=()

# say prints one line for a patch. What is not "killed" is a failure.
say() {
	printf '%-22s %5.1f s  %s\n' "$2" "$(awk -v ms="$3" 'BEGIN { print ms / 1000 }')" "$1"
	[[ $2 == killed ]] || failed+=("$1")
}

now() { date +%s%3N; }

# run runs a test and keeps what it prints. The limit is for a build from nothing.
run() { timeout -k 10 600 bash -c "$1" >"$work/out" 2>&1 </dev/null; }

# passes reports whether a test passes without a patch. It is asked once for each test.
declare -A passed
passes() {
	[[ -n ${passed[$1]:-} ]] && return 0
	run "$1" && ! grep -q 'no tests to run' "$work/out" && passed[$1]=yes
}

# try says what became of one patch.
try() {
	local name=$1 patch=$museum/$1.patch command began took status=0
	began=$(now)
	if [[ ! -f $patch ]]; then
		echo "there is no $patch" >"$work/out"
		say "$name" "NO SUCH PATCH" 0
	elif ! git apply "$patch" >"$work/out" 2>&1; then
		say "$name" "DOES NOT APPLY" $(($(now) - began))
	else
		command=$(head -n 1 "$patch")
		run "$command" || status=$?
		took=$(($(now) - began))
		git apply -R "$patch"
		if grep -qE '\[(build|setup) failed\]' "$work/out"; then
			say "$name" "DOES NOT BUILD" "$took"
		elif grep -qE 'no tests to run|no test files' "$work/out"; then
			say "$name" "THERE IS NO SUCH TEST" "$took"
		elif [[ $status == 0 ]]; then
			say "$name" SURVIVED "$took"
		elif [[ $status != 1 ]] || ! grep -q '^ *--- FAIL: ' "$work/out" || grep -q '^panic: ' "$work/out"; then
			say "$name" "NO PLAIN FAILURE" "$took"
		elif passes "$command"; then
			say "$name" killed "$took"
			return
		else
			say "$name" "FAILS WITHOUT IT TOO" "$took"
		fi
	fi
	tail -n 15 "$work/out" | sed 's/^/    /'
}

for name in "${names[@]}"; do try "$name"; done

echo
echo "${#names[@]} of ${#all[@]} tried, $((${#names[@]} - ${#failed[@]})) killed"
if [[ ${#failed[@]} -gt 0 ]]; then
	echo "NOT KILLED: scripts/mutants.sh ${failed[*]}"
	exit 1
fi
