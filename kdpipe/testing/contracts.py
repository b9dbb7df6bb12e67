"""A contract of plug-ins, and the sentence that says how one is broken."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Generic, Protocol, TypeVar

from pydantic import ValidationError

from kdpipe.base.errors import KdpipeError
from kdpipe.base.options import Options
from kdpipe.base.plugin import explain
from kdpipe.base.registry import Registry


class ContractError(AssertionError):
    """A plug-in breaks a contract. One sentence says what is wrong, the next what is asked."""


class Trial(Protocol):
    """What a contract is tried with: a plug-in, its options, and small data for it."""

    cls: type[Any]
    options: Any
    registry: Registry[Any]


T = TypeVar("T", bound=Trial)

Contract = Callable[[T], str | None]
"""Returns what is wrong, as a clause about the plug-in ("its loss is NaN"), or None. Its docstring
states the contract in one sentence."""


class Check(Generic[T]):
    """One contract of one plug-in: call it. pytest shows its name as the id of the test."""

    def __init__(
        self, who: str, contract: Contract[T], opened: Callable[[], AbstractContextManager[T]]
    ) -> None:
        self.who = who
        self.__name__ = getattr(contract, "__name__", "contract")
        self.__doc__ = contract.__doc__
        self._contract = contract
        self._opened = opened

    def __call__(self) -> None:
        """Raise ContractError where the plug-in breaks the contract."""
        try:
            with self._opened() as trial:
                wrong = self._contract(trial)
        except Exception as error:  # whatever the plug-in raises
            said = (str(error).strip().splitlines() or [""])[0].rstrip(".")
            raise self._broken(f"it raises {type(error).__name__}: {said}") from error
        if wrong:
            raise self._broken(wrong)

    def _broken(self, wrong: str) -> ContractError:
        asked = " ".join(inspect.cleandoc(self.__doc__ or "").split())
        return ContractError(f"{self.who} breaks '{self.__name__}': {wrong}. Contract: {asked}")

    def __repr__(self) -> str:
        return f"<check {self.__name__} of {self.who}>"


def found(registry: Registry[Any], plug_in: str | type[Any]) -> type[Any]:
    """The class that is meant, given as itself or by the name that a study uses."""
    return registry.get(plug_in) if isinstance(plug_in, str) else plug_in


def validated(cls: type[Any], options: Mapping[str, Any] | None) -> Any:
    """Options of the plug-in. Raises KdpipeError where they are not valid, or one is missing."""
    try:
        return cls.Options(**(options or {}))
    except ValidationError as error:
        raise KdpipeError(
            f"The options to check {cls.__name__} with are not valid: {explain(error)}; give those "
            f"that have no default as the second argument."
        ) from None


def checks(
    cls: type[Any],
    contracts: Iterable[Contract[T]],
    opened: Callable[[], AbstractContextManager[T]],
    leave_out: Collection[str],
) -> list[Check[T]]:
    """A check for each contract, without those that are left out by name.

    Raises KdpipeError where there is no contract of such a name.
    """
    who = f"{cls.__name__} '{getattr(cls, 'name', '?')}'"
    made = [Check(who, contract, opened) for contract in (*OF_ALL, *contracts)]
    known = [check.__name__ for check in made]
    for name in leave_out:
        if name not in known:
            raise KdpipeError(f"There is no contract '{name}' of {who}; it has {', '.join(known)}.")
    return [check for check in made if check.__name__ not in leave_out]


def run(made: Iterable[Check[Any]]) -> None:
    for check in made:
        check()


def registered_under_its_name(trial: Trial) -> str | None:
    """The registry gives the class itself for the class's name."""
    name = getattr(trial.cls, "name", None)
    if not name:
        return "it has no name; put the registry's decorator above the class"
    if trial.registry.get(name) is not trial.cls:
        return f"the registry has another class called '{name}'"
    return None


def says_what_it_is(trial: Trial) -> str | None:
    """A plug-in has a docstring of its own, which the reference prints."""
    return None if vars(trial.cls).get("__doc__") else "it has no docstring"


def options_are_documented(trial: Trial) -> str | None:
    """Options is a kdpipe.base.options.Options, and each of its fields has a description."""
    model = trial.cls.Options
    if not issubclass(model, Options):
        return f"its Options, {model.__name__}, does not derive from kdpipe.base.options.Options"
    bare = [name for name, field in model.model_fields.items() if not field.description]
    return f"{', '.join(bare)}: no description" if bare else None


def options_survive_json(trial: Trial) -> str | None:
    """Options written as JSON and read again are the same: a job gets them that way."""
    text = trial.options.model_dump_json()
    again = type(trial.options).model_validate_json(text)
    return None if again == trial.options else f"{text} is read as {again!r}"


def sentence(error: KdpipeError) -> str | None:
    """What keeps the text of ``error`` from being one sentence for a person; None if nothing."""
    text = str(error)
    if text.endswith(".") and "\n" not in text and len(text.split()) > 3:
        return None
    return f"its KdpipeError is no sentence: '{text}'"


OF_ALL: tuple[Contract[Any], ...] = (
    registered_under_its_name,
    says_what_it_is,
    options_are_documented,
    options_survive_json,
)
