"""The settings of the models that a method asks: the writer and the judge. Free of torch."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from prompt_optimization.errors import InputError
from prompt_optimization.extras import require_package
from prompt_optimization.keys import Settings, key

KEY_VARIABLE = "OPENAI_API_KEY"
# Where an address may hold a secret.
SECRET_PLACES = {
    "@": "a name or a password before its '@'",
    "?": "a query after its '?'",
    "#": "words after its '#'",
}
# Names of fields and beginnings of values that are secrets.
SECRET_FIELDS = frozenset(
    "key api_key apikey access_key secret_key x_api_key token api_token access_token auth_token "
    "bearer_token secret client_secret password passwd authorization credential credentials cookie "
    "extra_headers headers".split()
)
SECRET_VALUE = re.compile(r"(bearer\s+\S|(sk|gsk|hf|xai|ghp)[-_]\S{8})", re.IGNORECASE)


@dataclass(frozen=True)
class RoleSettings(Settings):
    """Base class of the settings of a model that a method asks: the writer, the judge.

    The name of the group is that of the role.
    """

    model: str = ""
    base_url: str = key(
        "",
        "an OpenAI-compatible server, such as http://localhost:8000/v1; empty: the model is "
        "loaded here",
        free=True,
    )
    api_key_env: str = key(
        KEY_VARIABLE,
        "the environment variable that holds the server's key; a server without keys needs none",
        free=True,
    )
    top_p: float = key(
        1.0,
        "draw from the likeliest tokens that together have this probability",
        above=0.0,
        high=1.0,
    )
    max_tokens: int = key(0, "longest reply, in tokens; 0: the method's own", low=0)
    concurrency: int = key(8, "requests at the same time to the server", low=1, free=True)
    timeout: float = key(
        120.0, "seconds after which an attempt at a request has failed", above=0.0, free=True
    )
    max_retries: int = key(
        5,
        "further attempts at a request that the server did not answer, or was too busy for",
        low=0,
        free=True,
    )
    accept_raw: bool = key(
        False,
        "take a whole reply for what was asked where it has no tags, as small models need it",
    )
    extra: dict[str, Any] = key(  # noqa: RUF009
        {},
        "further fields of a request to the server, such as max_completion_tokens; None leaves "
        "one out",
    )

    def check(self) -> None:
        # Logs and messages tell addresses and further fields; secrets they may not tell.
        for mark, held in SECRET_PLACES.items():
            if mark in self.base_url:
                raise InputError(
                    f"the server's address holds {held}; leave it out, and export the key in the "
                    "environment variable that api_key_env names",
                    key=self.keys("base_url", "api_key_env"),
                )
        if (name := _secret_in(self.extra)) is not None:
            raise InputError(
                f"the field '{name}' of {self.group}.extra looks like a secret, which logs would "
                "hold; leave it out, and export the key in the environment variable that "
                "api_key_env names",
                key=self.keys("extra", "api_key_env"),
            )
        if self.base_url and not _is_address(self.base_url):
            raise InputError(
                f"'{self.base_url}' is no address of a server; give one such as "
                "http://localhost:8000/v1",
                key=self.keys("base_url"),
            )
        if self.base_url and not self.model:
            raise InputError(
                f"the {self.group} at {self.base_url} has no name; give the one that the server "
                "knows",
                key=self.keys("model", "base_url"),
            )

    def check_ready(self) -> None:
        """Refuse a server that nothing here can ask.

        Raises:
            InputError: a package or the key is missing, or the key cannot be one.
        """
        if not self.base_url:
            return
        needs = f"a {self.group} behind a server"
        require_package(needs, "api", "openai", key=self.keys("base_url"))
        self.read_key()

    def read_key(self) -> str:
        """The server's key; empty for a server without keys. No log and no message may hold it.

        Raises:
            InputError: it is missing where one is needed, or cannot be one.
        """
        name, found = self.api_key_env, os.environ.get(self.api_key_env, "").strip()
        named = name != KEY_VARIABLE
        if not found and (named or self.base_url.startswith("https:")):
            raise InputError(
                f"the environment variable {name} is not set, and the server at {self.base_url} is "
                "asked with the key in it; export it, or any word for a server without keys",
                key=self.keys("api_key_env"),
            )
        if not (found.isascii() and all(map(str.isprintable, found)) and " " not in found):
            raise InputError(
                f"the environment variable {name} holds characters that no key has; set it anew",
                key=self.keys("api_key_env"),
            )
        if found and found in repr((self.model, self.base_url, self.extra)):
            raise InputError(
                f"the key in the environment variable {name} stands among the settings, which logs "
                "hold; leave it out there",
                key=self.keys("model", "base_url", "extra"),
            )
        return found

    @property
    def warnings(self) -> list[str]:
        if self.base_url:
            return []
        names = ("api_key_env", "concurrency", "timeout", "max_retries", "extra")
        return self.idle(f"without {self.group}.base_url", *names)

    def keys(self, *attributes: str) -> tuple[str, ...]:
        """The names of these settings, for messages."""
        return tuple(f"{self.group}.{each}" for each in attributes)


@dataclass(frozen=True)
class WriterSettings(RoleSettings, group="writer"):
    """The model that writes prompts, for the methods that ask one."""

    model: str = key(
        "",
        "the writer, named as in model_paths, or as the server at base_url calls it; empty: the "
        "model that the prompt is optimised for",
        aliases=("optimizer_llm_name",),
    )
    temperature: float = key(
        -1.0,
        "of the replies; 0 takes the likeliest token; -1: the method's own",
        aliases=("optimizer_temperature",),
        low=-1.0,
    )
    parse_retries: int = key(
        2, "times that a request is repeated for the replies that hold no prompt", low=0
    )

    def check(self) -> None:
        super().check()
        if self.temperature < 0 and self.temperature != -1:
            raise InputError(
                f"{self.temperature} is no temperature; give at least 0, or -1 for the method's "
                "own",
                key="writer.temperature",
            )


@dataclass(frozen=True)
class JudgeSettings(RoleSettings, group="judge"):
    """The model that compares answers, for the methods that ask one."""

    model: str = key(
        "",
        "the judge, named as in model_paths, or as the server at base_url calls it; empty: the "
        "writer judges, and the other keys of judge have no effect",
    )

    @property
    def warnings(self) -> list[str]:
        if self.model or self == JudgeSettings.default():
            return super().warnings
        return ["the keys of judge have no effect without judge.model"]

    def beside(self, writer: WriterSettings) -> JudgeSettings:
        """These, or where they name no model those of ``writer`` as a judge: how it is asked for
        prompts says nothing of how it judges."""
        return self if self.model else JudgeSettings.default(accept_raw=writer.accept_raw)


def _secret_in(value: Any, name: str = "") -> str | None:
    """The name of a field within ``value`` that looks like a secret; None without one."""
    if isinstance(value, Mapping):
        for each, inner in value.items():
            own = str(each)
            if own.lower().replace("-", "_") in SECRET_FIELDS:
                return own
            if (found := _secret_in(inner, own)) is not None:
                return found
    elif isinstance(value, str):
        return name if SECRET_VALUE.match(value) else None
    elif isinstance(value, Sequence):
        return next(
            (found for each in value if (found := _secret_in(each, name)) is not None), None
        )
    return None


def _is_address(text: str) -> bool:
    try:
        found = urlsplit(text)
        return found.scheme in ("http", "https") and bool(found.hostname) and found.port != 0
    except ValueError:  # a port or a bracket that is none
        return False
