# Completion for bash, made from the table of commands by "make generate"; do not edit.
_quell() {
	local words=""
	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		words="serve demo stub status tail switch window explain release advise report inventory devices audit token login store backup restore replay simulate config version help"
	else
		case ${COMP_WORDS[1]} in
		help) words="serve demo stub status tail switch window explain release advise report inventory devices audit token login store backup restore replay simulate config version" ;;
		serve) words="--config" ;;
		demo) words="--stay" ;;
		stub) words="" ;;
		status) words="--config --console --json --token-file --watch" ;;
		tail) words="--config --console --decision --distributor --hub --json --kind --meter --reason --token-file" ;;
		switch) words="on shadow off --config --console --json --token-file --why" ;;
		window) words="list close --all --config --console --json --limit --supplier --token-file --why" ;;
		explain) words="--at --config --console --json --token-file" ;;
		release) words="--config --console --token-file --why" ;;
		advise) words="list window forecast supply --config --console --csv --json --limit --model --token-file" ;;
		report) words="list show cut send resume verify export --config --console --format --from --json --next --remote --to --token-file --why" ;;
		inventory) words="import --config --console --dry-run --force --token-file" ;;
		devices) words="import list check --config --console --dry-run --force --json --token-file" ;;
		audit) words="list verify flow --after --config --console --from --head --json --limit --minutes --to --token-file" ;;
		token) words="create list revoke --config --console --expires --json --name --role --token-file" ;;
		login) words="--config --console --token-file" ;;
		store) words="copy --from --json --to" ;;
		backup) words="--config" ;;
		restore) words="--config --keep-windows" ;;
		replay) words="--csv --evidence --from --inventory --list --svg --switch --to --window" ;;
		simulate) words="--homes --nights --northbound --out --record --report --scenario --seed --southbound --speed --worlds" ;;
		config) words="check default --config" ;;
		version) words="--config --console --token-file" ;;
		esac
		case ${COMP_WORDS[COMP_CWORD - 1]} in
		--after | --at | --config | --console | --csv | --decision | --distributor | --expires | --format | --from | --head | --homes | --hub | --inventory | --kind | --limit | --list | --meter | --model | --name | --next | --nights | --northbound | --out | --reason | --record | --remote | --report | --role | --scenario | --seed | --southbound | --speed | --supplier | --svg | --switch | --to | --token-file | --why | --window | --worlds) return ;; # a value: files are offered
		esac
	fi
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}")
}
complete -o default -F _quell quell
