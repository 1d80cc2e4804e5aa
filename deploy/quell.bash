# Completion for bash, made from the table of commands by "make generate"; do not edit.
_quell() {
	local words=""
	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		words="serve demo stub switch window explain report inventory devices audit store config version help"
	else
		case ${COMP_WORDS[1]} in
		help) words="serve demo stub switch window explain report inventory devices audit store config version" ;;
		serve) words="--config" ;;
		demo) words="--stay" ;;
		stub) words="" ;;
		switch) words="on shadow off --config --why" ;;
		window) words="list close --all --config --limit --supplier --why" ;;
		explain) words="--at --config --json" ;;
		report) words="list show cut send resume verify export --config --format --from --next --remote --to --why" ;;
		inventory) words="import --config --dry-run --force" ;;
		devices) words="import list check --config --dry-run --force" ;;
		audit) words="list verify --after --config --head --json --limit" ;;
		store) words="copy --from --to" ;;
		config) words="check default --config" ;;
		version) words="--config" ;;
		esac
		case ${COMP_WORDS[COMP_CWORD - 1]} in
		--after | --at | --config | --format | --from | --head | --limit | --next | --remote | --supplier | --to | --why) return ;; # a value: files are offered
		esac
	fi
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}")
}
complete -o default -F _quell quell
