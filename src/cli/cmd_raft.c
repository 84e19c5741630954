/* cmd_raft.c - `gram raft`: a policy writes, a judge ranks, and the best answers are learnt. */
#include "cli/train_options.h"

static int run(const char **arg, size_t n)
{
    (void)n;
    return cli_align(true, arg[0], arg + 1);
}

const cli_command cli_raft = {
    "raft", "POLICY PROMPTS.jsonl...", "Train a policy on the best of its own answers, by a judge",
    "RAFT: POLICY answers each prompt --samples times, --judge gives the answers rewards, and the best of each prompt "
    "is learnt as if somebody had given it; then the policy that came of it answers other prompts. --kl k1 takes the "
    "distance to the reference from the reward; --global keeps the best of all prompts' answers; --algorithm raft++ "
    "learns with a clipped ratio, and reinforce-rej from the rewards themselves; --sampler takes the answers of "
    "another model.\n\n"
    "A judge is the path of a GRAM judge or a reward model, the address of a `gram serve`, or exec:COMMAND, a program "
    "that reads {\"prompt\",\"completion\"} and writes a number a line. A row is a prompt, as `gram generate` reads "
    "it.\n\nOUT/samples.jsonl has every answer with its reward: look at it. With --eval-file and an --eval-judge that "
    "is not the judge, the run says whether what the judge likes is what was wanted, and --best keeps the policy that "
    "did it best.",
    "gram raft ./my-model prompts.jsonl --judge reward/ --out better/ --max-new-tokens 64\n"
    "gram raft ./my-model prompts.jsonl --judge 'exec:python3 my_reward.py' --out better/ \\\n"
    "    --max-new-tokens 64 --samples 4 --lora-rank 16 --lr 1e-4\n"
    "gram raft ./my-model prompts.jsonl --judge gram-judge/ --out better/ --max-new-tokens 64 \\\n"
    "    --eval-file held-out.jsonl --eval-judge reward/ --eval-every 8 --best",
    2, CLI_MANY, cli_align_table, run, true
};
