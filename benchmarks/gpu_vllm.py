"""Seconds in which vLLM decodes rows, for ``benchmarks.gpu``, which installs nothing.

    python -m benchmarks.gpu_vllm FOLDER NEW_TOKENS

FOLDER holds a model without tokenizer, and ``rows.json`` with the rows' ids.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from pathlib import Path


def main(folder: str, limit: int) -> None:
    vllm = import_module("vllm")
    rows = json.loads((Path(folder) / "rows.json").read_text())
    prompts = [{"prompt_token_ids": ids} for ids in rows]
    model = vllm.LLM(
        folder,
        skip_tokenizer_init=True,
        dtype="bfloat16",
        max_model_len=max(map(len, rows)) + limit,
        max_num_seqs=len(rows),
        # Half of the device holds the other model.
        gpu_memory_utilization=0.45,
    )

    def seconds(tokens: int) -> float:
        how = vllm.SamplingParams(
            temperature=0, max_tokens=tokens, ignore_eos=True, detokenize=False
        )
        start = time.perf_counter()
        model.generate(prompts, how, use_tqdm=False)
        return time.perf_counter() - start

    seconds(limit)
    # The time of one token is that of reading.
    print(seconds(limit) - seconds(1))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
