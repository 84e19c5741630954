/* cmd_rl.c - `gram rl`: policy gradients from a judge's rewards. */
#include "cli/train_options.h"

static int run(const char **arg, size_t n)
{
    (void)n;
    return cli_align(false, arg[0], arg + 1);
}

const cli_command cli_rl = {
    "rl", "POLICY PROMPTS.jsonl...", "Train a policy from a judge's rewards, by policy gradients",
    "POLICY answers each prompt --samples times at --temperature, --judge gives the answers rewards, and what "
    "makes an answer better than the others of its prompt becomes likelier: --algorithm rloo, grpo, dr-grpo, "
    "reinforce, remax, online-dpo or ppo, which trains a value model beside the policy (--value). Judges that "
    "compare two answers work as they are: the answers to a prompt are compared with each other, or, with "
    "--scheme reference, with the row's \"reference\" or the policy's own greedy answer (--against "
    "greedy).\n\nEach part has an option of its own: where the distance to the reference stands and how it is "
    "measured (--kl, --kl-in, --beta), the ratio and its clipping, what the loss is a mean over, and what becomes"
    " of answers that were cut. --judge self trains a judge that writes its reasons, on labelled pairs: the "
    "reward of a rationale is the probability of the right label behind it. With --lora-rank the policy, its "
    "reference and the start are one model in memory.",
    "gram rl ./my-model prompts.jsonl --judge reward/ --out better/ --max-new-tokens 64 \\\n"
    "    --lora-rank 16 --lr 1e-5\n"
    "gram rl ./my-model prompts.jsonl --judge gram-judge/ --out better/ --max-new-tokens 64 \\\n"
    "    --algorithm grpo --kl k3 --kl-in loss --beta 0.04",
    2, CLI_MANY, cli_align_table, run, true
};
