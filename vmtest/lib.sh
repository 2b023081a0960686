# SPDX-License-Identifier: GPL-2.0-only
# What the scripts of this folder share: the cache, the matrix, and an apt of our own that looks
# at one suite and knows nothing of this machine's packages. Sourced by bash, never run.

vmtest=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${SLUICE_VMTEST_CACHE:-${XDG_CACHE_HOME:-/var/cache}/sluice-vmtest}

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$*"; exit 126; }

# matrix_row NAME: that kernel's words, in the order of the file's columns.
matrix_row() {
	awk -v name="$1" '!/^#/ && $1 == name { print; found = 1 } END { exit !found }' "$vmtest/matrix"
}

# matrix_names [ARCH]: the kernels of that architecture (amd64).
matrix_names() {
	awk -v arch="${1-amd64}" '!/^#/ && NF && $3 ~ "(^|-)" arch "(-|$)" { print $1 }' "$vmtest/matrix"
}

# debian_mirror SUITE: where this machine gets Debian from, by its own sources.
debian_mirror() {
	local kind=' [a-z]*$'
	case $1 in *-security) kind=' [a-z]*-security$' ;; esac
	apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Identifier: Packages' |
		sed -n "s|$kind||p" | head -n 1
}

# apt_open SUITE [ARCH]: from here on apt sees that suite alone; apt_close ends that.
apt_open() {
	local mirror
	mirror=$(debian_mirror "$1")
	[ -n "$mirror" ] || die "apt has no source of Debian packages here"
	apt=$(mktemp -d)
	mkdir -p "$apt"/{lists/partial,cache/archives/partial,parts,debs}
	cat >"$apt/parts/one.sources" <<-END
		Types: deb
		URIs: $mirror
		Suites: $1
		Components: main
		Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
	END
	cat >"$apt/conf" <<-END
		Dir::Etc::sourcelist "/dev/null";
		Dir::Etc::sourceparts "$apt/parts";
		Dir::Etc::preferencesparts "/dev/null";
		Dir::State::Lists "$apt/lists";
		Dir::State::status "/dev/null";
		Dir::Cache "$apt/cache";
		APT::Architecture "${2:-$(dpkg --print-architecture)}";
		APT::Architectures "";
		APT::Sandbox::User "root";
		Acquire::Languages "none";
	END
	export APT_CONFIG=$apt/conf
	apt-get -qq update
}

apt_close() {
	unset APT_CONFIG
	rm -rf "$apt"
}

# apt_unpack DIR PACKAGE...: into DIR, installing nothing.
apt_unpack() {
	local dir=$1 deb
	shift
	(cd "$apt/debs" && rm -f ./*.deb && apt-get -qq download "$@")
	for deb in "$apt"/debs/*.deb; do
		dpkg-deb -x "$deb" "$dir"
	done
}
