"""Score prompts on a task's split with any model.

From `experiments/`::

    python evaluate.py --config=./configs/embedded.py --prompt="think it over." --baseline=initial
    python evaluate.py --config=./configs/transfer_gemma2.py --log=results/llama3 \\
        --baseline=initial --baseline=zero_shot_cot --config.result_prefix=results/llama3_to_gemma2
"""

from __future__ import annotations

import shlex
import sys

from prompt_optimization.commands.evaluate import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], shlex.join(["python", sys.argv[0]])))
