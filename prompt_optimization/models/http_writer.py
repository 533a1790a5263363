"""A writer behind an OpenAI-compatible server. Needs the package openai, which is an extra."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai

from prompt_optimization.errors import InputError
from prompt_optimization.models.role_settings import RoleSettings
from prompt_optimization.models.writers import Answered, Reply, Request

# Characters of a server's own words that a message shows.
SHOWN = 200


class HttpWriter:
    """A model that a server answers for.

    The client retries what may pass: timeouts, lost connections, and answers that the server is
    too busy.
    """

    def __init__(self, settings: RoleSettings) -> None:
        """
        Raises:
            InputError: the key is missing or cannot be one.
        """
        self.name = settings.model
        self.settings = settings
        self._key = settings.read_key()

    def write(self, requests: Sequence[Request], answered: Answered) -> None:
        """Several requests at the same time.

        Raises:
            InputError: the server refuses a request, or has not answered after all attempts.
                Requests that it had begun to answer are finished first.
        """
        assert not any(request.choices for request in requests), "settings refuse what asks so"
        _run(self._write(requests, answered))

    async def _write(self, requests: Sequence[Request], answered: Answered) -> None:
        failures: list[InputError] = []
        places = asyncio.Semaphore(self.settings.concurrency)

        async def ask(client: openai.AsyncOpenAI, request: Request, draws: int) -> list[Reply]:
            async with places:
                if failures:  # Nothing new is begun.
                    raise failures[0]
                try:
                    return await self._ask(client, request, draws)
                except InputError as error:
                    failures.append(error)
                    raise

        async def answer(client: openai.AsyncOpenAI, index: int, request: Request) -> None:
            try:
                replies = await ask(client, request, request.draws)
                while (missing := request.draws - len(replies)) > 0:
                    # The server gives fewer choices than it is asked for; most that do give one.
                    asked = [ask(client, request, 1) for _ in range(missing)]
                    for more in await asyncio.gather(*asked):
                        replies += more
            except InputError:
                return
            answered(index, replies[: request.draws])

        async with openai.AsyncOpenAI(
            base_url=self.settings.base_url,
            api_key=self._key or "none",
            timeout=self.settings.timeout,
            max_retries=self.settings.max_retries,
        ) as client:
            await asyncio.gather(*(answer(client, i, each) for i, each in enumerate(requests)))
        if failures:
            raise failures[0]

    async def _ask(self, client: openai.AsyncOpenAI, request: Request, draws: int) -> list[Reply]:
        """The replies that one call gives; at least one, and not always as many as are wanted."""
        messages = [{"role": "system", "content": request.system}] if request.system else []
        fields = {
            "model": self.name,
            "messages": [*messages, {"role": "user", "content": request.user}],
            "n": draws,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "max_tokens": request.max_tokens,
            **self.settings.extra,
        }
        body = {name: value for name, value in fields.items() if value is not None}
        try:
            # As a whole, so that no field needs to be one that the client knows.
            found = await client.post("/chat/completions", cast_to=object, body=body)
        except openai.APIStatusError as error:
            raise self._refused(error) from None
        except openai.APIConnectionError as error:
            reason = "in time" if isinstance(error, openai.APITimeoutError) else "at all"
            raise self._silent(f"does not answer {reason}") from None
        except (openai.OpenAIError, ValueError) as error:
            raise self._no_completion(str(error)) from None
        return self._replies(found)

    def _replies(self, found: Any) -> list[Reply]:
        try:
            usage = found.get("usage") or {}
            texts = [choice["message"].get("content") or "" for choice in found["choices"]]
            cut = [choice.get("finish_reason") == "length" for choice in found["choices"]]
            tokens = int(usage.get("prompt_tokens", 0)), int(usage.get("completion_tokens", 0))
        except (AttributeError, LookupError, TypeError, ValueError):
            raise self._no_completion(str(found)) from None
        if not texts or not all(isinstance(text, str) for text in texts):
            raise self._no_completion(str(found))
        # The server counts a call's tokens as a whole; its first reply carries them.
        return [
            Reply(_encodable(text), *(tokens if not number else (0, 0)), ended)
            for number, (text, ended) in enumerate(zip(texts, cut, strict=True))
        ]

    def _refused(self, error: openai.APIStatusError) -> InputError:
        """What to say of an answer that is an error."""
        status = error.status_code
        if status in (401, 403):
            name = self.settings.api_key_env
            have = "holds a wrong one" if self._key else "is not set"
            return InputError(
                f"the server at {self.settings.base_url} does not accept the key ({status}): the "
                f"environment variable {name} {have}; set it, or name another one",
                key=self.settings.keys("api_key_env"),
            )
        if status < 500 and status not in (408, 409, 429):
            return InputError(
                f"the server at {self.settings.base_url} refuses the request ({status}: "
                f"{self._shown(_said(error))}); check the address, the model's name and the "
                "further fields",
                key=self.settings.keys("base_url", "model", "extra"),
            )
        return self._silent(f"cannot answer ({status}: {self._shown(_said(error))})")

    def _silent(self, problem: str) -> InputError:
        return InputError(
            f"the server at {self.settings.base_url} {problem}, after "
            f"{self.settings.max_retries} further attempts; continue the run once it does",
            key=(*self.settings.keys("base_url"), "resume"),
        )

    def _no_completion(self, given: str) -> InputError:
        return InputError(
            f"the server at {self.settings.base_url} gave no chat completion "
            f"({self._shown(given)}); check the address",
            key=self.settings.keys("base_url"),
        )

    def _shown(self, text: str) -> str:
        """A server's words on one line, without the key."""
        hidden = text.replace(self._key, "***") if self._key else text
        line = " ".join(_encodable(hidden).split())
        return line if len(line) <= SHOWN else f"{line[:SHOWN]}..."


def _said(error: openai.APIStatusError) -> str:
    """Why the server refuses; OpenAI's calls it the message, those on FastAPI the detail."""
    body: Any = error.body
    if isinstance(body, dict):
        body = body.get("message") or body.get("detail") or body
    return str(body or error.message)


def _encodable(text: str) -> str:
    """``text`` without halves of characters, which no file can hold."""
    return text.encode(errors="replace").decode()


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Do ``work``, also where an event loop is running already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()
