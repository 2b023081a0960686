# SPDX-License-Identifier: GPL-2.0-only
# bash completion for sluice(8): words come from `sluice help`, names from what is
# steered now. Install as /usr/share/bash-completion/completions/sluice.

# The commands of `sluice help`, as "object command" or "command".
_sluice_commands() {
	sluice help 2>/dev/null | sed -n '/^Options/q; s/^  \([a-z-]\+\( [a-z]\+\)\?\)\( .*\)\?$/\1/p'
}

# The options of a command, of the first line of its usage.
_sluice_options() {
	sluice help "$@" 2>/dev/null | sed -n 's/\[OPTIONS\]//; 1p' | grep -oE -- '(^|[[| ])--?[a-z][a-z-]*' | tr -d '[| '
}

# Column $2 of the table that `sluice $1 show` prints, each value once: names with a slash or
# addresses with a port, which headings and notes are not.
_sluice_column() {
	sluice "$1" show 2>/dev/null | awk -v column="$2" '$column ~ /[\/:]./ { print $column }' |
		sort -u
}

_sluice() {
	local word=${COMP_WORDS[COMP_CWORD]} before=("${COMP_WORDS[@]:1:COMP_CWORD-1}") words=() w
	local line=${COMP_LINE:0:COMP_POINT}

	for w in "${before[@]}"; do
		[[ $w == -* ]] || words+=("$w")
	done
	case "${words[*]}" in
	'')
		w=$(_sluice_commands | cut -d' ' -f1 | sort -u; echo help) ;;
	'service show' | 'replica show' | 'flow show' | 'hand-back')
		w=$(_sluice_column service 1) ;;
	'replica drain' | 'replica undrain' | 'replica drain '* | 'replica undrain '*)
		# Readline takes the colon of ADDR:PORT for the end of a word: offer what follows it.
		w=$(_sluice_column replica 3)
		local typed=${line##* }
		COMPREPLY=()
		for w in $w; do
			[[ $w == "$typed"* ]] && COMPREPLY+=("${w#"${typed%"${typed##*:}"}"}")
		done
		return ;;
	*)
		w=$(_sluice_commands | sed -n "s/^${words[0]} //p") ;;
	esac
	[[ $word == -* ]] && w="--json --bpffs --help $(_sluice_options "${words[@]}")"
	mapfile -t COMPREPLY < <(compgen -W "$w" -- "$word")
}

complete -o default -F _sluice sluice
