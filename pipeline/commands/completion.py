"""Completion by the Tab key. Shells complete the arguments of a program, and `python -m pipeline` is not one."""

#: The variable by which the shell's function asks for words.
VARIABLE = "_WSOL_COMPLETE"
#: zsh reads bash's functions after the first line.
SCRIPT = """\
if [ -n "$ZSH_VERSION" ]; then autoload -U +X compinit bashcompinit && compinit && bashcompinit; fi
wsol() { .venv/bin/python -m pipeline "$@"; }
_wsol() {
  local IFS=$'\\n'
  COMPREPLY=( $(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD %s=complete_bash wsol 2>/dev/null) )
}
complete -o default -F _wsol wsol
"""


def completion() -> None:
    """Give this shell the command `wsol`, which completes by Tab.

    For bash and zsh. `wsol` is short for `.venv/bin/python -m pipeline`, in whatever checkout you are. To keep it, put
    the line of the example into ~/.bashrc or ~/.zshrc, with the path of a checkout.

    Examples:
        eval "$(.venv/bin/python -m pipeline completion)"
    """
    print(SCRIPT % VARIABLE, end="")
