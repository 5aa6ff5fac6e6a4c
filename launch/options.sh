# Sourced by the scripts that start training elsewhere, after setup.sh:
#   parse_options "$@"      reads --name=VALUE flags, those that `flags` lists, into variables of
#                           their names, and --dry-run; glober_jax.main gets `main_flags`,
#                           --config, --workdir and what follows "--"
#   train_flags             the same as launch/train.sh takes them, quoted for a shell
#   need FLAG...            fails unless these were given
#   check_config            fails unless --config is a file that is copied to other machines
#   usage                   prints the head of the script, and ends
#   need_program NAME WHERE fails unless a program is installed; WHERE says how to

script=launch/$(basename "$0")
# Set, and some only read, by their names.
# shellcheck disable=SC2034
name='' zone='' project='' accelerator='' config='' workdir='' dry_run=''

parse_options() {
  local key
  while (($#)); do
    case $1 in
      --) shift && break ;;
      --dry-run) dry_run=yes ;;
      --*=*)
        key=${1%%=*} key=${key#--}
        [[ " $flags " == *" $key "* ]] ||
          fail "$script has no flag --$key, only --dry-run and --${flags// /, --}; flags of" \
            "glober_jax.main stand after --"
        printf -v "$key" %s "${1#*=}"
        ;;
      *) fail "'$1' is not understood: write --flag=VALUE, and flags of glober_jax.main after --" ;;
    esac
    shift
  done
  main_flags=("--config=$config" "--workdir=$workdir" "$@")
}

train_flags() {
  quoted "${main_flags[@]:0:2}" -- "${main_flags[@]:2}"
}

need() {
  local key
  for key in "$@"; do
    [[ ${!key} ]] || fail "--$key is missing; the head of $script shows an example"
  done
}

check_config() {
  # What follows a colon is the config's argument.
  [[ $config == configs/* && -f ${config%%:*} ]] ||
    fail "--config=$config is no file in configs/ of this repository, which is what is copied"
}

usage() {
  sed -n '/^# /,/^set /{s/^# \{0,1\}//p;};' "$script" >&2
  exit 2
}

need_program() {
  [[ $dry_run ]] || command -v "$1" >/dev/null || fail "$1 is not installed; $2"
}
