#!/usr/bin/env bash
# Checks the release: the program that makes it, that two clones give the same
# sums, the packages, the unit as installed, the completions, and the image. As
# root on Debian or Ubuntu; there it installs what it needs. Packages are
# installed into an overlay of this machine's files that is gone with this
# process, so nothing of the machine changes. Uncommitted work is checked too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
version=1.2.3-rc.4 # any; one that .deb and .rpm write in another way

# What this runs: a command, and the Debian package that it comes from.
needs='git git
systemd-analyze systemd
runuser util-linux
rpm rpm
mandoc mandoc
zsh zsh
fish fish
buildah buildah'

say() { printf '\n== %s\n' "$*"; }

# fail says what is wrong and ends the check.
fail() {
	printf 'FAILED: %s\n' "$*" >&2
	exit 1
}

# same compares what is with what should be.
same() { [[ $2 == "$3" ]] || fail "$1: $2, want $3"; }

install_needs() {
	local command package missing=()
	[[ $(id -u) == 0 ]] && command -v dpkg >/dev/null || fail "this needs root on Debian or Ubuntu"
	while read -r command package; do
		command -v "$command" >/dev/null || missing+=("$package")
	done <<<"$needs"
	[[ ${#missing[@]} -gt 0 ]] || return 0
	say "install: ${missing[*]}"
	apt-get update -qq </dev/null
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" </dev/null >"$work/apt" 2>&1 ||
		{ cat "$work/apt" >&2; fail "cannot install ${missing[*]}"; }
}

program() {
	local staticcheck
	staticcheck=$(go tool -n staticcheck)
	(cd release && go vet ./... && "$staticcheck" ./... && go mod tidy -diff && go test ./...)
}

# clones makes $work/one and $work/a/two, clones of the work tree as it is.
clones() {
	local commit=HEAD index=$work/index tree
	if [[ -n $(git status --porcelain) ]]; then
		GIT_INDEX_FILE=$index git read-tree HEAD
		GIT_INDEX_FILE=$index git add -A
		tree=$(GIT_INDEX_FILE=$index git write-tree)
		commit=$(git -c user.name=check -c user.email=check@example.invalid commit-tree -p HEAD -m "the work tree" "$tree")
	fi
	commit=$(git rev-parse "$commit")
	for clone in one a/two; do
		git clone -q --shared --no-checkout . "$work/$clone"
		git -C "$work/$clone" checkout -q "$commit"
	done
}

# same_sums makes the release twice, the second time as if on another machine.
same_sums() {
	(cd "$work/one" && umask 022 && make -s release VERSION=$version)
	(cd "$work/a/two" && umask 077 && export TZ=Asia/Tokyo LC_ALL=C GOFLAGS=-tags=other GOAMD64=v3 SOURCE_DATE_EPOCH=1 &&
		unshare --uts bash -c "hostname elsewhere && make -s release VERSION=$version" >/dev/null)
	diff "$work/one/dist/SHA256SUMS" "$work/a/two/dist/SHA256SUMS" || fail "two builds differ"
	(cd "$work/one/dist" && sha256sum -c --quiet --strict SHA256SUMS)
	same "files in SHA256SUMS" "$(wc -l <"$work/one/dist/SHA256SUMS")" 8
}

refused() {
	touch "$work/a/two/new"
	! make -s -C "$work/a/two" release VERSION=$version >"$work/refused" 2>&1 || fail "a work tree with changes is released"
	grep -q 'commit these first' "$work/refused" || { cat "$work/refused"; fail "refused for another reason"; }
}

contents() {
	local arch sum
	for arch in amd64 arm64; do
		tar -xzf "$work/one/dist/quell-$version-linux-$arch.tar.gz" -C "$work"
		sum=$(sha256sum <"$work/quell-$version-linux-$arch/quell" | cut -d' ' -f1)
		grep -q "$sum" "$work/one/dist/quell-$version-linux-$arch.cdx.json" || fail "the SBOM of $arch is of another binary"
		dpkg-deb -x "$work/one/dist/quell_${version/-/\~}_$arch.deb" "$work/deb-$arch"
		same "the binary in the .deb" "$(sha256sum <"$work/deb-$arch/usr/bin/quell" | cut -d' ' -f1)" "$sum"
	done
	for rpm in "$work"/one/dist/*.rpm; do
		rpm -K "$rpm" || fail "$rpm"
	done
	! mandoc -T lint -W warning "$work/deb-amd64/usr/share/man/man1/quell.1.gz" | grep -v 'missing date' || fail "the manual page"
	zsh -n "$work/deb-amd64/usr/share/zsh/vendor-completions/_quell"
	same "what fish offers" "$(fish --no-config -c "source $work/deb-amd64/usr/share/fish/vendor_completions.d/quell.fish; complete -C 'quell window l'")" list
}

# packages runs installed with root changed to the overlay.
packages() {
	mount -t tmpfs -o mode=755 quell-check "$work/copy"
	mkdir "$work"/copy/{upper,work,root}
	mount -t overlay -o "lowerdir=/,upperdir=$work/copy/upper,workdir=$work/copy/work" quell-check "$work/copy/root"
	mount --rbind /dev "$work/copy/root/dev"
	mount -t proc proc "$work/copy/root/proc"
	mount --bind "$work/one" "$work/copy/root/mnt"
	chroot "$work/copy/root" bash /mnt/scripts/release_check.sh installed
}

# installed installs the packages and removes them. It runs in the overlay.
installed() {
	local deb rpm link=/etc/systemd/system/multi-user.target.wants/quell.service
	deb=/mnt/dist/quell_${version/-/\~}_$(dpkg --print-architecture).deb
	rpm=/mnt/dist/quell-${version/-/\~}-1.$(uname -m).rpm
	! dpkg -s quell >/dev/null 2>&1 || fail "quell is installed on this machine: check on another"

	say "install $deb"
	dpkg -i "$deb"
	same_installation
	[[ ! -e $link ]] || fail "the service is enabled by itself"
	sed -i 's|next_hop: ""|next_hop: http://127.0.0.1:9|' /etc/quell/quell.yaml
	runuser -u quell -- quell config check --config /etc/quell/quell.yaml
	! runuser -u nobody -- cat /etc/quell/quell.yaml 2>/dev/null || fail "anybody may read the configuration"
	serve
	systemctl enable quell.service
	[[ -e $link ]] || fail "the service cannot be enabled"

	say "install it again"
	dpkg -i "$deb"
	grep -q 'next_hop: http' /etc/quell/quell.yaml || fail "the configuration was lost"
	[[ -e $link ]] || fail "an upgrade disables the service"

	say "remove and purge"
	dpkg -r quell
	[[ -e /etc/quell/quell.yaml && ! -e /usr/bin/quell && ! -L $link ]] || fail "dpkg -r leaves something, or takes too much"
	dpkg -P quell
	[[ ! -e /etc/quell/quell.yaml ]] || fail "the configuration is still there"
	[[ -e /var/lib/quell/quell.db ]] && id quell >/dev/null || fail "dpkg -P took the data or the user"

	say "install $rpm" # Debian has the files of systemd, but rpm does not know of them
	userdel quell
	rm -r /var/lib/quell
	rpm -i --nodeps "$rpm"
	same_installation
	same "rpm -V" "$(rpm -V --nodeps quell | tr -s ' ')" "......G.. /etc/quell" # the group, which the script gives it
	systemctl enable quell.service
	rpm -U --nodeps --replacepkgs "$rpm"
	[[ -e $link ]] || fail "an upgrade disables the service"
	sed -i 's|next_hop: ""|next_hop: http://127.0.0.1:9|' /etc/quell/quell.yaml
	serve
	rpm -e quell
	[[ ! -e /usr/bin/quell && ! -L $link && -e /etc/quell/quell.yaml.rpmsave && -e /var/lib/quell/quell.db ]] || fail "rpm -e leaves something, or takes too much"
}

# same_installation checks what both packages install.
same_installation() {
	local out
	same "quell version" "$(quell version | head -1 | cut -d, -f1)" "quell $version"
	same "the user" "$(getent passwd quell | cut -d: -f6,7)" "/var/lib/quell:/usr/sbin/nologin"
	same "/var/lib/quell" "$(stat -c '%U:%G %a' /var/lib/quell)" "quell:quell 700"
	same "/etc/quell" "$(stat -c '%U:%G %a' /etc/quell)" "root:quell 750"
	out=$(systemd-analyze verify --man=no quell.service 2>&1) || fail "systemd-analyze verify: $out"
	same "systemd-analyze verify" "$out" ""
	out=$(systemd-analyze security --offline=true --threshold=20 --no-pager quell.service) || fail "systemd-analyze security: $out"
}

# serve starts quell as the unit does, and stops it: with one signal, since a second
# one ends it at once (timeout sends two, unless in the foreground).
serve() {
	local status=0
	cd /var/lib/quell
	runuser -u quell -- timeout --foreground --preserve-status 5 /usr/bin/quell serve --config /etc/quell/quell.yaml || status=$?
	cd /
	same "the exit status of quell serve" "$status" 0
}

# image builds the image from the tarball, and runs it.
image() {
	local store=(--root "$work/store" --runroot "$work/run" --storage-driver vfs) context container within
	context=$work/quell-$version-linux-$(dpkg --print-architecture)
	buildah "${store[@]}" bud --isolation chroot -q -t quell "$context"
	container=$(buildah "${store[@]}" from quell)
	mkdir "$work/etc"
	install -d -o 65532 -g 65532 "$work/data"
	sed 's|next_hop: ""|next_hop: http://127.0.0.1:9|' "$context/quell.yaml" >"$work/etc/quell.yaml"
	chmod 711 "$work" # for the user in the container
	within=(buildah "${store[@]}" run --isolation chroot -v "$work/etc:/etc/quell:ro" -v "$work/data:/var/lib/quell" "$container" -- /usr/bin/quell)
	same "the version in the image" "$("${within[@]}" version | head -1 | cut -d, -f1)" "quell $version"
	timeout 5 "${within[@]}" serve >"$work/serve" 2>&1 || true # the status is buildah's, and not quell's
	[[ -e $work/data/quell.db ]] || { cat "$work/serve" >&2; fail "quell keeps nothing in the image"; }
	same "the owner of the data" "$(stat -c '%u:%g' "$work/data/quell.db")" 65532:65532
}

case ${1:-} in
installed) installed ;;
packages | image) # in namespaces of their own: mounts, ports and processes end with it
	work=$2
	"$1"
	;;
*)
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	mkdir "$work"/{a,copy}
	install_needs
	say "the program"
	program
	say "the same sums from two clones"
	clones
	same_sums
	refused
	say "contents"
	contents
	for step in packages image; do
		say "$step"
		unshare --mount --net --pid --fork --kill-child --mount-proc bash "${BASH_SOURCE[0]}" "$step" "$work"
	done
	say "the release is well"
	;;
esac
