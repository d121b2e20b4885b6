"""The command line: `tinygrad-fm`, or `python -m tinygrad_fm`."""

from __future__ import annotations

import argparse
import codecs
import errno
import io
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress

from tinygrad_fm import __version__
from tinygrad_fm.cli import checks, demo, exchange, predict, recipes, report, runs, train, tune
from tinygrad_fm.errors import TinygradError
from tinygrad_fm.formatting import printable
from tinygrad_fm.ops.fast.parallel import set_num_threads
from tinygrad_fm.runs.interrupt import like_ctrl_c

# Each module has `add_commands(commands)`; their order is that of the help.
FAMILIES = (demo, recipes, train, runs, predict, report, exchange, tune, checks)
# What may go wrong without being a mistake in the program.
EXPECTED = (TinygradError, FloatingPointError, MemoryError, OSError)

LONGEST = 1000  # characters of a message
# What stands for our own signs where an encoding lacks them; a question mark for any other.
PLAIN = dict.fromkeys("█▉▊▋▌", "#") | dict.fromkeys("▍▎▏", "") | {"×": "x", "…": "...", "–": "-"}

# Plainer words than the system's.
REASONS = {
    errno.ENOSPC: "the disk is full, could not write",
    errno.EDQUOT: "the disk quota is used up, could not write",
    errno.EFBIG: "the file would be larger than this system allows",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "no permission",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        the exit status: 0, 1 if it failed, 128 + n if signal n ended it: 130 for Ctrl-C. (Bad usage
        exits with 2.)
    """
    prepare_streams()
    top = parser()
    options, rest = top.parse_known_args(arguments)
    if rest and not options.takes_rest:
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    options.rest = rest
    if getattr(options, "threads", None):
        set_num_threads(options.threads)
    try:
        with like_ctrl_c(), warnings.catch_warnings():
            warnings.showwarning = show_warning
            warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's; a loss that is NaN is told
            status = options.action(options) or 0
        sys.stdout.flush()  # now, where an error can be told
        return status
    except KeyboardInterrupt as error:
        number = getattr(error, "number", signal.SIGINT)
        by = "" if number == signal.SIGINT else f" by {signal.Signals(number).name}"
        with suppress(OSError):  # after SIGHUP there is no terminal
            say(f"interrupted{by}", options)
        return 128 + number
    except BrokenPipeError:  # whoever read our output has seen enough: `tinygrad-fm list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if options.debug:
            raise
        say(explain(error, options), options if isinstance(error, OSError | MemoryError) else None)
        return 1


def prepare_streams() -> None:
    """Let printing never fail for a stream that is closed (`>&-`), or for a sign it cannot hold."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  # for the program's life
    codecs.register_error("plain", plainly)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="plain")


def plainly(error: UnicodeError) -> tuple[str, int]:
    """What Python's encoders ask about signs that they cannot write."""
    assert isinstance(error, UnicodeEncodeError)
    signs = error.object[error.start : error.end]
    return "".join(PLAIN.get(sign, "?") for sign in signs), error.end


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(
        prog="tinygrad-fm",
        description="Deep learning on NumPy alone: train, resume, explain, compare.",
        epilog="`tinygrad-fm COMMAND --help` shows a command's options and an example.",
    )
    top.add_argument("-V", "--version", action="version", version=f"tinygrad-fm {__version__}")
    top.add_argument("--debug", action="store_true", help="show the whole traceback of an error")
    # In case that something ends the command: how to continue it, and where it has saved what.
    top.set_defaults(takes_rest=False, go_on=None, saved=None)
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for family in FAMILIES:
        family.add_commands(commands)
    return top


def say(problem: str, began: argparse.Namespace | None) -> None:
    """Tell people, on stderr, what went wrong and how to continue what a command began."""
    print(f"tinygrad-fm: {one_line(problem)}", file=sys.stderr)
    if began is None or began.go_on is None:
        return
    if began.saved.exists():
        go_on = printable(began.go_on)
        print(f"What was saved is whole. Go on with:\n  {go_on}", file=sys.stderr)
    else:
        missing = printable(began.saved)
        print(f"There is nothing to go on with: {missing} is not there.", file=sys.stderr)


def show_warning(message: Warning | str, *_: object, **__: object) -> None:
    """A warning on one line."""
    print(f"tinygrad-fm: {one_line(str(message))}", file=sys.stderr)


def one_line(text: str) -> str:
    """The beginning of a message that may list hundreds of weights, a line each."""
    lines = [line.strip() for line in text.splitlines()]
    beginning = printable(" ".join(lines[:2]))
    more = " … (--debug shows it all)" if len(lines) > 2 or len(beginning) > LONGEST else ""
    return beginning[:LONGEST] + more


def explain(error: Exception, options: argparse.Namespace) -> str:
    """One line for people about what went wrong."""
    if isinstance(error, OSError) and error.strerror is not None:
        reason = REASONS.get(error.errno or 0, error.strerror)
        where = "" if error.filename is None else f": {error.filename}"
        return f"{reason[:1].lower()}{reason[1:]}{where}"
    if isinstance(error, MemoryError):
        # A run that is resumed keeps its own.
        fits = "batch_size" in options and getattr(options, "resume", None) is None
        advice = ", try a smaller --batch-size" if fits else ""
        return f"not enough memory{advice}: {error}".removesuffix(": ")
    if isinstance(error, EXPECTED):
        return str(error)
    return f"{type(error).__name__}: {error} (unexpected; --debug shows where)"
