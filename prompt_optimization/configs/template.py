"""Every option, grouped, with its meaning, its default and where the default comes from.

Family configs start from ``get_config()`` of this file and set what differs; any key can be
overridden on the command line with ``--config.KEY=VALUE``. The config is locked: an unknown key
or a value of another type is an error that names the nearest known key.

Sources: [paper] GReaTer, ICLR 2025; [code] the authors' released scripts; [llm-attacks] the code
base those grew from; [measured] docs/lab_notes.md; otherwise our own choice.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def get_config() -> ConfigDict:
    config = ConfigDict()

    # --- What is asked -----------------------------------------------------------------------
    # Task files (columns goal,target,final_target; see data/BBH/README.md). Without test_data,
    # or when both are the same file, dev and test are cut from the rows behind the training rows.
    config.train_data = ""
    config.test_data = ""
    # The first training row, and rows per split; -1: those of the task whose name the file has
    # (and, without test_data, the test file beside it), else 50/100/100 [paper]. Dev shrinks where
    # a task has too few rows.
    config.data_offset = 0
    config.n_train_data = -1
    config.n_dev_data = -1
    config.n_test_data = -1
    # Text behind the reasoning that makes the model state its answer in the reference's form.
    # Empty: that of the task whose name the file has, where the answer stands behind a 'dollar' or
    # between 'stars' (the published ones for Llama-3 and Gemma-2).
    config.extractor_text = ""
    config.extractor_style = "dollar"
    # Text between question and prompt [paper, 4.1], and between reasoning and extractor [code].
    config.connector = ". Use"
    config.extractor_separator = " "

    # --- Where the search begins ---------------------------------------------------------------
    # [paper, 4.1]. "control" is llm-attacks' word for the prompt.
    config.control_init = (
        " proper logical reasoning and think step by step. Finally give the actual correct answer."
    )

    # --- Who answers ---------------------------------------------------------------------------
    # A hub name, a local folder, a GGUF file, or 'smollm2-135m-instruct' (comes with the set-up).
    # One value or a tuple, one entry per model. Empty tokenizer_paths: the models' own.
    config.model_paths = ("smollm2-135m-instruct",)
    config.tokenizer_paths = ()
    # Keyword arguments for from_pretrained, one dict per model [llm-attacks].
    config.model_kwargs = ({},)
    config.tokenizer_kwargs = ({},)
    # 'auto' is the tokenizer's own chat template; otherwise the name of an fschat template.
    config.conversation_templates = ("auto",)
    # Variables for the tokenizer's template (Llama-3.2's would otherwise write today's date).
    config.chat_template_kwargs = ConfigDict(type_safe=False)
    # One model copy on each: 'auto' (every GPU there is, or else the CPU), 'cpu', 'cuda:0', ... A
    # device may be named several times.
    config.devices = ("auto",)
    # Where the copies live: 'local', in this process or, when there are several, in processes of
    # their own; 'ray', in actors of the cluster at ray_address ('' starts one on this machine).
    config.workers = "local"
    config.ray_address = ""
    # A worker that has not answered for so many seconds is replaced; 0 waits for ever.
    config.worker_timeout = 0.0
    # 'auto' is bfloat16 where the device computes in it, float32 elsewhere.
    config.dtype = "auto"
    # Run code that comes with a model's repository. Never by default.
    config.trust_remote_code = False
    # So many of model_paths, of one tokenizer, are optimised for together; the others only test
    # the prompts at the end. progressive_models begins with the first one and adds another
    # whenever samples would be added under progressive_goals and none are left [llm-attacks].
    config.num_train_models = 1
    config.progressive_models = False

    # --- How it reasons ------------------------------------------------------------------------
    # Longest reasoning, in tokens; greedy. [code]: 512 in the gradient, 1024 in the selection.
    config.max_new_tokens = 512
    # Longest freely generated answer in held-out evaluation, in tokens; raised where a reference
    # answer is longer.
    config.answer_tokens = 16

    # --- The search ----------------------------------------------------------------------------
    # 'sound', or 'published' to repeat the released code's search rules with their accidents.
    # It sets the keys of the block below; each can still be set by itself.
    config.behaviour = "sound"
    # Steps; one token is edited in each. [paper]: 105.
    config.n_steps = 105
    # Proposals per sample [paper: 10]; random groups of samples whose intersections are united
    # [code: 6]; samples per group [paper: q = 5]; when fewer than min_proposals tokens come
    # out, topk grows by 2 and the groups are drawn again [code: 6].
    config.topk = 10
    config.topq = 6
    config.intersect_q = 5
    config.min_proposals = 6
    # Try candidates on so many samples at a time, the hardest first, and give up those that can no
    # longer be taken nor be among the best prompts; 0: on all at once. The search goes the same
    # way, up to the rounding of other pools. Only under accept='improve', once there are
    # top_prompts prompts. Off by default: docs/lab_notes.md.
    config.sample_chunk = 0
    # Tokens tried for real per step. [paper]: mu = 3.
    config.shortlist_size = 3
    # Ablations, at the same number of tokens tried: which proposals they are, those with the most
    # negative 'gradient' [paper], 'random' ones, or the likeliest ('proposal'); and whether the
    # gradient goes through the reasoning [paper] or the answer stands right behind the prompt.
    config.shortlist = "gradient"
    config.reasoning_gradient = True
    # The differentiated loss: target_weight * answer cross-entropy at logits / answer_temperature
    # + control_weight * prompt negative log-likelihood. [paper]: lambda = 0.2; [code]: 0.2.
    config.target_weight = 1.0
    config.control_weight = 0.2
    config.answer_temperature = 0.2
    # What selection minimises: 'mistakes', the share of samples whose answer tokens are not all the
    # model's first choice [code, measured], or 'loss', the mean answer cross-entropy in nats.
    config.objective = "mistakes"
    # The selection: objective + selection_control_weight * prompt negative log-likelihood.
    # [code]: 0.02 (hard-coded there).
    config.selection_control_weight = 0.02
    # Propose tokens other than ASCII words, '.', ',' and ' '.
    config.allow_non_ascii = False
    # The prompt does not grow beyond this many tokens.
    config.max_prompt_tokens = 64
    # Seed of the search's only random generator.
    config.seed = 0

    # --- Set by behaviour: (sound | published) -------------------------------------------------
    # 'anneal' with anneal=True, else 'improve' | 'always' (even what is worse).
    config.accept = placeholder(str)
    # 'off' | 'published' (a '.' in the second half wins at once, whatever its objective).
    config.period_rule = placeholder(str)
    # What stands in an appended slot under the gradient: 'proposal' | 'underscore'.
    config.placeholder = placeholder(str)
    # May the current token take a place in the shortlist? False | True.
    config.current_in_shortlist = placeholder(bool)
    # Which of equal candidates is chosen: 'first' | 'last'.
    config.ties = placeholder(str)
    # Samples per group under progressive_goals: 10 | 100.
    config.progressive_group = placeholder(int)
    # Go back to the first position whenever the objective is below loss_threshold: False | True.
    config.restart_when_solved = placeholder(bool)

    # --- Around the step -----------------------------------------------------------------------
    # Begin with one group of samples; add the next one when the objective falls below
    # loss_threshold or early_stopping_steps pass without a new best. [code]: 0.12 and 150.
    config.progressive_goals = False
    config.loss_threshold = 0.12
    config.early_stopping_steps = 150
    # Accept what is worse by delta with probability exp(-delta / T), T = 1 - (k + 1) / n_steps.
    config.anneal = False
    # Ends of the search besides n_steps, each off at zero or empty; the log says which one it
    # was: every training sample right [code]; seconds spent in steps; tokens decoded; reasonings
    # evaluated; best objective below this; steps without a better prompt; a file that exists.
    config.stop_on_success = False
    config.max_seconds = 0.0
    config.max_decoded_tokens = 0
    config.max_evaluations = 0
    config.stop_objective = 0.0
    config.stop_plateau = 0
    config.stop_file = ""
    # Score the incumbent on dev every so many steps; 0 never.
    config.test_steps = 0
    # Best prompts that are kept and scored on dev after the search. [code]: 10.
    config.top_prompts = 10

    # --- Memory --------------------------------------------------------------------------------
    # Rows (prompt x sample) decoded side by side, and samples in one backward pass. Both halve
    # by themselves when the memory runs out. max_rows=0: as many as the free memory should hold on
    # a GPU, 128 on a CPU. gradient_rows=0: 8 on a GPU, 2 on a CPU, where more only take memory.
    config.max_rows = 0
    config.gradient_rows = 0

    # --- What remains --------------------------------------------------------------------------
    # Go on with the unfinished run of this result_prefix (or logfile): 'no' starts a new one,
    # 'True' asks for one, 'auto' goes on where there is one and starts one where there is none,
    # 'force' goes on even though settings, data or model have changed. A finished run is left
    # alone under 'auto'.
    config.resume = "no"
    # torch's deterministic algorithms, for GPUs whose fast ones are not; on a CPU they all are.
    config.deterministic = False
    # The log is <result_prefix>_<date>-<time>.json, or exactly logfile when that is given.
    config.result_prefix = "results/run"
    config.logfile = ""
    # False keeps the screen silent but for the result.
    config.verbose = True

    # --- Accepted for existing commands, without effect (one warning when set) -----------------
    config.attack = "gcg"  # only 'gcg' exists
    config.batch_size = 512
    config.temp = 1.0
    config.lr = 0.01
    config.gbda_deterministic = True
    config.incr_control = False
    config.filter_cand = True  # a prompt that its text does not mean is always dropped

    return config
