"""Whether callers need API keys, which goes by where the service listens.

`bentoml serve` listens in a parent process and hands the socket to its workers (``--fd``), so a worker's socket says
where the service can be reached, whatever option, file or variable that came from. Where it cannot be told, keys are
required.
"""

import ipaddress
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

VARIABLE = "RECLOOP_API_KEYS"
SETTINGS = ("auto", "required", "off")
_OPTION = "--fd"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Whether callers need a key.

    Attributes:
        required: whether they do.
        sentence: for the operator.
        loud: whether it must not be overlooked: others than this machine may reach the service, or the setting is
            wrong.
    """

    required: bool
    sentence: str
    loud: bool


def bind_address(words: Sequence[str]) -> str | None:
    """The IP address that this worker's socket is bound to; `None` if there is none to be found.

    Args:
        words: the worker's command line.
    """
    try:
        listening = socket.socket(fileno=os.dup(int(words[words.index(_OPTION) + 1])))
    except (ValueError, IndexError, OSError):
        return None
    with listening:
        if listening.family not in {socket.AF_INET, socket.AF_INET6}:
            return None
        return str(listening.getsockname()[0])


def rule(address: str | None, env: Mapping[str, str] = os.environ) -> Rule:
    """Whether callers of a service need a key.

    Args:
        address: where it listens; `None` if that is not known.
        env: its `RECLOOP_API_KEYS` is ``required``, ``off``, or ``auto``, the default: required unless `address` is a
            loopback address. Any other value counts as ``required``.
    """
    setting = env.get(VARIABLE) or "auto"
    where = address or "an address that cannot be told"
    private = address is not None and ipaddress.ip_address(address).is_loopback
    if setting not in SETTINGS:
        sentence = f"{VARIABLE} is '{setting}', which is none of {', '.join(SETTINGS)}; API keys are required."
        return Rule(required=True, sentence=sentence, loud=True)
    if setting == "required" or (setting == "auto" and not private):
        sentence = f"API keys are required on {where}; 'recloop keys create' makes one ({VARIABLE}={setting})."
        return Rule(required=True, sentence=sentence, loud=not private)
    if private:
        sentence = f"No API keys are asked for on {where}, which only this machine reaches ({VARIABLE}={setting})."
    else:
        sentence = f"{VARIABLE}=off: whoever reaches {where} may ask, send feedback and erase people without a key."
    return Rule(required=False, sentence=sentence, loud=not private)
