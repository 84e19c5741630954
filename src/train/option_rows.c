/* option_rows.c - the table of training's options: see options.h. A row here is all that a new option asks for, beside
 * its field in include/gram/train.h and who uses it. */
#include "base/mem.h"
#include "train/options_int.h"

/* The loss comes first: it sets the defaults of its own. */
const gram_option gr_option_row[] = {
    { .name = "loss", .kind = GRAM_OPTION_CHOICE, .at = AT(loss), .stages = STAGE2, .alike = true,
      .usual = { "", "gram" },
      .choices = "gram|generative|bt|bt-margin|bt-smooth|bt-posreg|sft-reg|purm|rationale|proof|dpo|cdpo|ipo|simpo|"
      "orpo|kto",
      .help = "What is minimised. gram: the cross-entropy of the two labels, smoothed; generative: the same without "
      "smoothing. The others train a reward model, whose head reads one answer: bt (Bradley-Terry), bt-margin, "
      "bt-smooth, bt-posreg, sft-reg (which also learns to write the chosen answer) and purm (a mean and a spread). "
      "rationale learns to write the rows' reasons and the verdict behind them; proof, told the verdict, to write why. "
      "The rest train a policy, which writes answers: dpo, cdpo (smoothed), ipo, simpo and orpo from pairs, kto from "
      "rows of a prompt, a \"completion\" and a \"label\"" },
    { .name = "smoothing", .kind = GRAM_OPTION_REAL, .at = AT(smoothing), .stages = STAGE2, .alike = true, .most = 0.5,
      .losses = ONE(GRAM) | ONE(BT_SMOOTH) | ONE(RATIONALE) | ONE(CDPO),
      .usual = { "", "0.05; bt-smooth and cdpo 0.1" },
      .help = "gram, rationale, bt-smooth, cdpo: the mass that the target gives to the other label, as the paper "
      "defines it. torch's label_smoothing=0.1 is the paper's 0.05 and 0.05 here, since torch spreads it over both "
      "labels" },
    { .name = "order-weight", .kind = GRAM_OPTION_REAL, .at = AT(order_weight), .stages = STAGE2, .alike = true,
      .most = ANY, .losses = ONE(GRAM) | ONE(GENERATIVE), .usual = { "", "0" },
      .help = "gram, generative: the weight of a term that makes the two orders of a pair agree, the square of half "
      "the difference of their margins" },
    { .name = "margin-scale", .kind = GRAM_OPTION_REAL, .at = AT(margin_scale), .stages = STAGE2, .alike = true,
      .most = ANY, .losses = ONE(BT_MARGIN), .usual = { "", "1" },
      .help = "bt-margin: multiplies the margins of the rows" },
    { .name = "posreg", .kind = GRAM_OPTION_REAL, .at = AT(posreg), .stages = STAGE2, .alike = true, .most = ANY,
      .losses = ONE(BT_POSREG), .usual = { "", "0.1" },
      .help = "bt-posreg: the weight of the term that keeps chosen answers' rewards above 0" },
    { .name = "sft-weight", .kind = GRAM_OPTION_REAL, .at = AT(sft_weight), .stages = STAGE2, .alike = true, .most = 1,
      .losses = ONE(SFT_REG), .usual = { "", "0.01" }, .help = "sft-reg: a, the share of the text's loss" },
    { .name = "sft-beta", .kind = GRAM_OPTION_REAL, .at = AT(sft_beta), .stages = STAGE2, .alike = true, .most = ANY,
      .losses = ONE(SFT_REG), .usual = { "", "0.1" },
      .help = "sft-reg: b, which multiplies the text's log-probability" },
    { .name = "verdict-weight", .kind = GRAM_OPTION_REAL, .at = AT(verdict_weight), .stages = STAGE2, .alike = true,
      .most = ANY, .losses = ONE(RATIONALE), .usual = { "", "1" },
      .help = "rationale: the weight of the label's term, which counts as one token at 1" },
    { .name = "rationale-format", .kind = GRAM_OPTION_WORD, .at = AT(rationale_format), .stages = STAGE2 | STAGE3,
      .alike = true, .losses = ONE(RATIONALE) | ONE(PROOF),
      .help = "rationale, proof, and `judge` self: how reasons and verdict are written: gram-r2, rm-r1, think-rm, or "
      "a file (default: as judge.json says that the model learnt it, or gram-r2)" },
    { .name = "head", .kind = GRAM_OPTION_CHOICE, .at = AT(head), .stages = STAGE2, .alike = true, .losses = SCALARS,
      .choices = "linear|mlp", .usual = { "", "linear" },
      .help = "What gives a new reward model its number: linear, the hidden state of the last token times a vector, "
      "or mlp, GRM's: a hidden layer, ReLU, and then the vector" },
    { .name = "head-width", .kind = GRAM_OPTION_SIZE, .at = AT(head_width), .stages = STAGE2, .alike = true, .least = 1,
      .most = MANY, .losses = SCALARS, .needs = "head", .usual = { "1024", "1024" }, .help = "mlp: its hidden units" },
    { .name = "freeze", .kind = GRAM_OPTION_FLAG, .at = AT(freeze), .stages = STAGE2, .alike = true,
      .losses = SCALARS & ~ONE(SFT_REG),
      .help = "Train the reward head alone and leave the rest of the model as it is" },
    { .name = "ties", .kind = GRAM_OPTION_CHOICE, .at = AT(ties), .stages = STAGE2, .alike = true,
      .losses = JUDGES | SCALARS,
      .choices = "half|drop", .usual = { "", "half" },
      .help = "Rows that the data call a tie: their target is a half, or they are dropped" },
    { .name = "pairs", .kind = GRAM_OPTION_SIZE, .at = AT(pairs), .stages = STAGE1, .alike = true, .least = 1,
      .most = MANY, .usual = { "1", "1" },
      .help = "Draw at most N pairs of one prompt's responses, none of them in two" },

    { .name = "algorithm", .kind = GRAM_OPTION_CHOICE, .at = AT(align.algorithm), .stages = STAGE3, .alike = true,
      .choices = "raft|raft++|reinforce-rej|rloo|grpo|dr-grpo|reinforce|remax|online-dpo|ppo",
      .usual = { "", "", "rloo" },
      .help = "How rewards move the policy. raft: the best answer of each prompt is learnt; raft++: the same with a "
      "clipped ratio; reinforce-rej: the reward itself, of prompts whose answers differ in it; rloo: less the mean of "
      "the others; grpo: less the mean, over the standard deviation; dr-grpo: less the mean; reinforce: less the "
      "running mean of all; remax: less that of the greedy answer; online-dpo: dpo of the best answer to each prompt "
      "against the worst; ppo: of each token, what came of it less what a value model said would come" },
    { .name = "judge", .kind = GRAM_OPTION_WORD, .at = AT(align.judge), .stages = STAGE3, .alike = true,
      .help = "Whose rewards are learnt from: the path of a judge or reward model, http://HOST:PORT of a gram serve, "
      "or exec:COMMAND, a program that reads and writes JSON Lines. self: the policy is a judge that learns to reason "
      "about labelled pairs, and the reward of its reasons is the probability that it gives the right label behind "
      "them" },
    { .name = "eval-judge", .kind = GRAM_OPTION_WORD, .at = AT(align.eval_judge), .stages = STAGE3, .alike = true,
      .needs = "eval-file",
      .help = "Who judges the held-out prompts, and by that says which policy is best (default: the judge itself, "
      "which rates what it was pleased with). One that compares is given the row's \"reference\" to compare with" },
    { .name = "eval-judge-votes", .kind = GRAM_OPTION_SIZE, .at = AT(align.eval_votes), .stages = STAGE3,
      .alike = true, .most = 1024, .needs = "eval-file", .usual = { "", "", "0" },
      .help = "The `eval-judge`, or the judge where there is none, writes its reasons N times before each verdict on a "
      "held-out prompt, as `judge-votes` lets the judge; 0: it writes none" },
    { .name = "eval-judge-tokens", .kind = GRAM_OPTION_SIZE, .at = AT(align.eval_vote_tokens), .stages = STAGE3,
      .alike = true, .least = 1, .most = MANY, .needs = "eval-judge-votes", .usual = { "", "", "512" },
      .help = "The longest of these rationales" },
    { .name = "eval-judge-format", .kind = GRAM_OPTION_WORD, .at = AT(align.eval_format), .stages = STAGE3,
      .alike = true, .needs = "eval-judge-votes",
      .help = "How they and the verdict are written: gram-r2, rm-r1, think-rm, or a file (default: as the judge "
      "learnt it)" },
    { .name = "pointwise", .kind = GRAM_OPTION_FLAG, .at = AT(align.pointwise), .stages = STAGE3, .alike = true,
      .help = "The judge, a model here, is asked about one answer at a time, as gram score asks it with `pointwise`: "
      "the reward is the margin of Yes over No, and n answers cost n passes" },
    { .name = "scale", .kind = GRAM_OPTION_WORD, .at = AT(align.scale), .stages = STAGE3, .alike = true,
      .needs = "pointwise", .help = "Instead it is the expected number of this range, as 0-10" },
    { .name = "pointwise-prompt", .kind = GRAM_OPTION_PATH, .at = AT(align.pointwise_prompt), .stages = STAGE3,
      .alike = true, .needs = "pointwise",
      .help = "The prompt that asks it, with {input} and {response} (default: gram's own)" },
    { .name = "judge-votes", .kind = GRAM_OPTION_SIZE, .at = AT(align.votes), .stages = STAGE3, .alike = true,
      .most = 1024, .usual = { "", "", "0" },
      .help = "The judge, a model that compares, writes its reasons N times before each verdict, over both orders in "
      "turn, as gram score `rationale` does; 0: it writes none" },
    { .name = "judge-tokens", .kind = GRAM_OPTION_SIZE, .at = AT(align.vote_tokens), .stages = STAGE3, .alike = true,
      .least = 1, .most = MANY, .needs = "judge-votes", .usual = { "", "", "512" },
      .help = "The longest of these rationales" },
    { .name = "samples", .letter = 'n', .kind = GRAM_OPTION_SIZE, .at = AT(align.samples), .stages = STAGE3,
      .alike = true, .least = 1, .most = 1024, .usual = { "", "", "8; online-dpo 2; ppo 1" },
      .help = "Answers to each prompt" },
    { .name = "rollout-prompts", .kind = GRAM_OPTION_SIZE, .at = AT(align.rollout), .stages = STAGE3, .alike = true,
      .least = 1, .most = MANY, .usual = { "", "", "16; raft and ppo 64" },
      .help = "Prompts that the same weights answer before they learn; `batch-rows` of them make a step" },
    { .name = "resample", .kind = GRAM_OPTION_SIZE, .at = AT(align.resample), .stages = STAGE3, .alike = true,
      .most = 1000, .algorithms = THE(REINFORCE_REJ) | THE(RLOO) | THE(GRPO) | THE(DR_GRPO) | THE(ONLINE_DPO),
      .usual = { "", "", "0" },
      .help = "Dynamic sampling, DAPO's: replace prompts whose answers all have one reward by the next ones, up to N "
      "times a rollout" },
    { .name = "sampler", .kind = GRAM_OPTION_PATH, .at = AT(align.sampler), .stages = STAGE3, .alike = true,
      .algorithms = THE(RAFT),
      .help = "raft: the model whose answers are ranked and learnt, by its own tokenizer and template (default: the "
      "policy itself)" },
    { .name = "updates", .kind = GRAM_OPTION_SIZE, .at = AT(align.updates), .stages = STAGE3, .alike = true,
      .least = 1, .most = 1000, .usual = { "", "", "1; raft 2; ppo 4" },
      .help = "Learn N times from each answer, TRL's num_iterations" },
    { .name = "max-new-tokens", .kind = GRAM_OPTION_SIZE, .at = AT(align.max_new), .stages = STAGE3, .alike = true,
      .least = 1, .most = MANY, .help = "The longest answer, its end counted. It has no default" },
    { .name = "temperature", .kind = GRAM_OPTION_REAL, .at = AT(align.temperature), .stages = STAGE3, .alike = true,
      .above = true, .most = 100, .usual = { "", "", "1" },
      .help = "At which answers are drawn, and at which their probabilities are taken in the loss" },
    { .name = "top-p", .kind = GRAM_OPTION_REAL, .at = AT(align.top_p), .stages = STAGE3, .alike = true, .above = true,
      .most = 1, .algorithms = THE(RAFT), .usual = { "", "", "1" },
      .help = "raft: draw from the likeliest tokens of this mass. What is learnt by its probability is never filtered, "
      "which would bias it" },
    { .name = "kl", .kind = GRAM_OPTION_CHOICE, .at = AT(align.kl), .stages = STAGE3, .alike = true,
      .algorithms = RAFTS | GRADIENTS,
      .choices = "none|k1|k2|k3", .usual = { "", "", "none; rloo and ppo k1" },
      .help = "How the distance to the reference is measured: k1, the logarithm of the ratio; k2, half its square; k3, "
      "GRPO's. In the loss k2 has the gradient of KL(policy, reference), k3 that of KL(reference, policy)" },
    { .name = "kl-in", .kind = GRAM_OPTION_CHOICE, .at = AT(align.kl_in), .stages = STAGE3, .alike = true,
      .algorithms = RAFTS | GRADIENTS,
      .choices = "reward|loss", .needs = "kl", .usual = { "", "", "reward" },
      .help = "Where it stands: summed over an answer and taken from its reward (ppo: from that of each token), or "
      "in the loss at each token" },
    { .name = "kl-target", .kind = GRAM_OPTION_REAL, .at = AT(align.kl_target), .stages = STAGE3, .alike = true,
      .most = ANY, .needs = "kl",
      .help = "Let beta grow where the distance of an answer is above X, and fall where it is below (default: 0, beta "
      "stays)" },
    { .name = "kl-horizon", .kind = GRAM_OPTION_REAL, .at = AT(align.kl_horizon), .stages = STAGE3, .alike = true,
      .above = true, .most = ANY, .needs = "kl-target", .usual = { "", "", "10000" },
      .help = "In how many answers beta changes by a fifth" },
    { .name = "ratio", .kind = GRAM_OPTION_CHOICE, .at = AT(align.ratio), .stages = STAGE3, .alike = true,
      .choices = "none|token|answer-mean|answer-sum", .algorithms = GRADIENTS, .usual = { "", "", "token" },
      .help = "Of what the ratio to the policy that wrote is: a token; the mean over an answer, GSPO's; its sum, that "
      "of RLOO in TRL; or none" },
    { .name = "clip-low", .kind = GRAM_OPTION_REAL, .at = AT(align.clip_low), .stages = STAGE3, .alike = true,
      .most = 1, .algorithms = GRADIENTS & ~THE(RAFT_PP), .needs = "ratio", .usual = { "", "", "0.2" },
      .help = "How far below 1 the ratio of an answer that is worse than the others still moves the policy" },
    { .name = "clip-high", .kind = GRAM_OPTION_REAL, .at = AT(align.clip_high), .stages = STAGE3, .alike = true,
      .most = ANY, .algorithms = GRADIENTS, .needs = "ratio", .usual = { "", "", "0.2" },
      .help = "How far above 1 that of a better one; DAPO's is 0.28" },
    { .name = "dual-clip", .kind = GRAM_OPTION_REAL, .at = AT(align.dual_clip), .stages = STAGE3, .alike = true,
      .most = ANY, .algorithms = GRADIENTS & ~THE(RAFT_PP), .needs = "ratio",
      .help = "The largest ratio of an answer that is worse than the others; 3 is usual (default: 0, none)" },
    { .name = "aggregate", .kind = GRAM_OPTION_CHOICE, .at = AT(align.per), .stages = STAGE3, .alike = true,
      .choices = "token|answer|length", .algorithms = GRADIENTS,
      .usual = { "", "", "token; grpo answer; dr-grpo length" },
      .help = "What the loss is a mean over: the tokens of a step, DAPO's; answers, each the mean of its tokens, "
      "GRPO's; answers, each the sum of its tokens over `max-new-tokens`, Dr. GRPO's" },
    { .name = "cut", .kind = GRAM_OPTION_CHOICE, .at = AT(align.cut), .stages = STAGE3, .alike = true,
      .choices = "mask|keep|penalty", .usual = { "", "", "mask" },
      .help = "Answers that ran into `max-new-tokens`: mask, nothing is learnt of them, though their rewards stand "
      "among the others; keep, like the others; penalty, with `cut-penalty` taken from their reward" },
    { .name = "cut-penalty", .kind = GRAM_OPTION_REAL, .at = AT(align.cut_penalty), .stages = STAGE3, .alike = true,
      .most = ANY, .needs = "cut", .usual = { "", "", "0" }, .help = "What a cut answer loses" },
    { .name = "length-penalty", .kind = GRAM_OPTION_REAL, .at = AT(align.length_penalty), .stages = STAGE3,
      .alike = true, .most = ANY, .usual = { "", "", "0" },
      .help = "Take X times the share of `max-new-tokens` that an answer used from its reward" },
    { .name = "sd-floor", .kind = GRAM_OPTION_REAL, .at = AT(align.sd_floor), .stages = STAGE3, .alike = true,
      .most = ANY, .algorithms = THE(GRPO), .usual = { "", "", "0" },
      .help = "grpo: the least standard deviation, so that what a judge gives by chance is not blown up" },
    { .name = "whiten", .kind = GRAM_OPTION_CHOICE, .at = AT(align.whiten), .stages = STAGE3, .alike = true,
      .choices = "no|yes", .algorithms = GRADIENTS & ~THE(RAFT_PP), .usual = { "", "", "no; ppo yes" },
      .help = "Bring the advantages of a rollout to mean 0 and variance 1, over its tokens" },
    { .name = "global", .kind = GRAM_OPTION_FLAG, .at = AT(align.global), .stages = STAGE3, .alike = true,
      .algorithms = RAFTS,
      .help = "raft: one answer to a prompt, of which the best of each `samples` prompts are learnt. For judges whose "
      "rewards can be compared across prompts" },
    { .name = "min-gain", .kind = GRAM_OPTION_REAL, .at = AT(align.min_gain), .stages = STAGE3, .alike = true,
      .most = ANY, .algorithms = RAFTS, .usual = { "", "", "0" },
      .help = "raft: leave out prompts whose best answer is not X above their mean" },
    { .name = "scheme", .kind = GRAM_OPTION_WORD, .at = AT(align.scheme), .stages = STAGE3, .alike = true,
      .choices = "all-pairs|reference|tournament|linear|circular",
      .help = "How a judge that compares makes rewards, as `by` of gram bon says (default: all-pairs)" },
    { .name = "against", .kind = GRAM_OPTION_CHOICE, .at = AT(align.against), .stages = STAGE3, .alike = true,
      .choices = "row|greedy", .needs = "scheme", .usual = { "", "", "row" },
      .help = "The answer of `scheme` reference: the row's own \"reference\", or the policy's greedy one" },
    { .name = "unit", .kind = GRAM_OPTION_WORD, .at = AT(align.unit), .stages = STAGE3, .alike = true,
      .choices = "margin|preference",
      .help = "What a judge that compares gives: margin, that of the logits, or preference (default: margin)" },
    { .name = "lambda", .kind = GRAM_OPTION_REAL, .at = AT(align.lambda), .stages = STAGE3, .alike = true, .most = ANY,
      .usual = { "", "", "0" }, .help = "PURM: the reward is mean - X u, u the overlap with the other answers" },
    { .name = "no-logprobs", .kind = GRAM_OPTION_FLAG, .at = AT(align.no_logprobs), .stages = STAGE3,
      .help = "Leave the log-probabilities of each token out of samples.jsonl, which are most of it" },
    { .name = "value", .kind = GRAM_OPTION_PATH, .at = AT(align.value), .stages = STAGE3, .alike = true,
      .algorithms = THE(PPO),
      .help = "ppo: the model that the value model starts from: a reward model, whose head it goes on with, or another "
      "model with the policy's vocabulary (default: the policy itself, with a new head)" },
    { .name = "gae-gamma", .kind = GRAM_OPTION_REAL, .at = AT(align.gae_gamma), .stages = STAGE3, .alike = true,
      .most = 1, .algorithms = THE(PPO), .usual = { "", "", "1" },
      .help = "ppo: what a reward is worth a token earlier" },
    { .name = "gae-lambda", .kind = GRAM_OPTION_REAL, .at = AT(align.gae_lambda), .stages = STAGE3, .alike = true,
      .most = 1, .algorithms = THE(PPO), .usual = { "", "", "0.95" },
      .help = "ppo: 1, a token is worth what came behind it, less the value; 0, what the next value says; between, "
      "both" },
    { .name = "value-clip", .kind = GRAM_OPTION_REAL, .at = AT(align.value_clip), .stages = STAGE3, .alike = true,
      .most = ANY, .algorithms = THE(PPO), .usual = { "", "", "0.2" },
      .help = "ppo: how far from what it was in the rollout a value still learns; 0: however far" },
    { .name = "value-weight", .kind = GRAM_OPTION_REAL, .at = AT(align.value_weight), .stages = STAGE3, .alike = true,
      .above = true, .most = ANY, .algorithms = THE(PPO), .usual = { "", "", "0.1" },
      .help = "ppo: what the value's loss weighs beside the policy's; each is clipped by itself" },
    { .name = "value-lr", .kind = GRAM_OPTION_REAL, .at = AT(align.value_lr), .stages = STAGE3, .alike = true,
      .most = 1, .algorithms = THE(PPO), .usual = { "", "", "0" },
      .help = "ppo: the peak of the value model's learning rate; 0: ten times `lr`" },
    { .name = "value-warmup", .kind = GRAM_OPTION_WIDE, .at = AT(align.value_warmup), .stages = STAGE3, .alike = true,
      .most = STEPS, .algorithms = THE(PPO), .usual = { "", "", "0" },
      .help = "ppo: train the value model alone for the first N steps, in which the policy stays as it is; verl's "
      "critic_warmup, OpenRLHF's freezing_actor_steps" },

    { .name = "beta", .kind = GRAM_OPTION_REAL, .at = AT(beta), .stages = STAGE2 | STAGE3, .alike = true,
      .above = true, .most = ANY, .losses = POLICIES, .usual = { "", "0.1; simpo 2", "0.05; online-dpo 0.1" },
      .help = "What the distance of a policy to its reference weighs; orpo: what the odds weigh beside the text" },
    { .name = "gamma", .kind = GRAM_OPTION_REAL, .at = AT(gamma), .stages = STAGE2, .alike = true, .most = ANY,
      .losses = ONE(SIMPO), .usual = { "", "1" }, .help = "simpo: the margin, -log s(beta D - X). TRL's is 0.5" },
    { .name = "good-weight", .kind = GRAM_OPTION_REAL, .at = AT(good_weight), .stages = STAGE2, .alike = true,
      .most = ANY, .losses = ONE(KTO), .usual = { "", "1" }, .help = "kto: what answers weigh that are labelled good" },
    { .name = "bad-weight", .kind = GRAM_OPTION_REAL, .at = AT(bad_weight), .stages = STAGE2, .alike = true,
      .most = ANY, .losses = ONE(KTO), .usual = { "", "1" }, .help = "kto: what the others weigh" },
    { .name = "reference", .kind = GRAM_OPTION_PATH, .at = AT(reference), .stages = STAGE2 | STAGE3, .alike = true,
      .losses = REFERRED,
      .help = "The model that a policy is held against (default: the one that it starts from)" },

    { .name = "lr", .kind = GRAM_OPTION_REAL, .at = AT(lr), .stages = ALL, .alike = true, .most = 1,
      .usual = { "1e-5", "2e-5", "1e-6; algorithm raft 1e-5; online-dpo 5e-7" },
      .help = "The peak of the learning rate. dpo and its kin begin with 1e-6" },
    { .name = "schedule", .kind = GRAM_OPTION_CHOICE, .at = AT(schedule), .stages = ALL, .alike = true,
      .choices = "cosine|linear|constant", .usual = { "cosine", "cosine", "constant" },
      .help = "How the rate falls after its peak" },
    { .name = "warmup", .kind = GRAM_OPTION_REAL, .at = AT(warmup), .stages = ALL, .alike = true, .most = 1,
      .usual = { "0.1", "0.1", "0.05" },
      .help = "The share of the steps, rounded up to a step, over which the rate rises" },
    { .name = "weight-decay", .kind = GRAM_OPTION_REAL, .at = AT(weight_decay), .stages = ALL, .alike = true,
      .most = 1, .usual = { "0", "0", "0" }, .help = "AdamW's decay of matrices" },
    { .name = "clip", .kind = GRAM_OPTION_REAL, .at = AT(clip), .stages = ALL, .alike = true, .most = ANY,
      .usual = { "1", "1", "1" }, .help = "Scale gradients down to this norm of all of them together; 0: never" },
    { .name = "batch-rows", .letter = 'b', .kind = GRAM_OPTION_SIZE, .at = AT(batch_rows), .stages = ALL,
      .alike = true, .least = 1, .most = MANY, .usual = { "32", "16", "16" }, .help = "Rows of a step" },
    { .name = "epochs", .letter = 'e', .kind = GRAM_OPTION_SIZE, .at = AT(epochs), .stages = ALL, .least = 1,
      .most = MANY, .usual = { "1", "2", "1" }, .help = "Go through the data N times" },
    { .name = "steps", .kind = GRAM_OPTION_WIDE, .at = AT(steps), .stages = ALL, .most = STEPS,
      .help = "Take N steps, whatever the epochs are (default: 0, as many as they ask for)" },
    { .name = "seed", .letter = 's', .kind = GRAM_OPTION_WIDE, .at = AT(seed), .stages = ALL, .alike = true,
      .most = ANY, .usual = { "0", "0", "0" },
      .help = "Of the order of the rows, of what is drawn from them, of new weights and of dropout" },
    { .name = "lora-rank", .kind = GRAM_OPTION_SIZE, .at = AT(lora_rank), .stages = ALL, .alike = true, .most = MANY,
      .help = "Train low-rank adapters of rank N beside a model that stays as it is, and write them as PEFT does "
      "(default: 0, every weight is trained). `dtype bf16` halves the memory of the model; without adapters it is "
      "trained in two bytes, rounded by chance at each step" },
    { .name = "lora-alpha", .kind = GRAM_OPTION_REAL, .at = AT(lora_alpha), .stages = ALL, .alike = true,
      .above = true, .most = 1e9, .needs = "lora-rank",
      .help = "What the adapters give is times X / rank (default: X is twice the rank)" },
    { .name = "lora-dropout", .kind = GRAM_OPTION_REAL, .at = AT(lora_dropout), .stages = ALL, .alike = true,
      .most = 1, .below = true, .needs = "lora-rank",
      .help = "The share of their inputs that the adapters do not see in a step, drawn anew for each token and matrix; "
      "never when the model is judged (default: 0, or what the adapter that is trained further had)" },
    { .name = "lora-targets", .kind = GRAM_OPTION_WORD, .at = AT(lora_targets), .stages = ALL, .alike = true,
      .needs = "lora-rank",
      .help = "Which matrices of a layer have adapters: some of q,k,v,o,gate,up,down (default: all of them)" },
    { .name = "recompute", .kind = GRAM_OPTION_CHOICE, .at = AT(recompute), .stages = ALL, .choices = "auto|on|off",
      .usual = { "auto", "auto", "auto" },
      .help = "Layers that keep their input alone for the backward pass and make the rest again, with the same bits: "
      "on, all, for a tenth of the activations' memory and about four thirds of the time; off, none; auto, as many as "
      "it takes for the run to fit the machine and, with adapters, for activations of 2 GiB" },
    { .name = "zero", .kind = GRAM_OPTION_SIZE, .at = AT(zero), .stages = LABELLED, .alike = true, .least = 1,
      .most = 2, .usual = { "1", "1" },
      .help = "What processes share out (mpirun, `devices`). 1: the optimizer's moments, 8 of the 16 bytes of a "
      "parameter; 2: the gradients, too, which are added up layer by layer in each backward pass, so that 12 of 16 are "
      "divided by the processes; where a process has several micro-batches, sums are made in another order" },
    { .name = "compute", .kind = GRAM_OPTION_CHOICE, .at = AT(compute), .stages = LABELLED, .alike = true,
      .choices = "f32|bf16", .usual = { "f32", "f32" },
      .help = "Multiply by the layers' matrices, forward, backward and for their gradients, in float32 or in bfloat16 "
      "with sums in float32, which takes a CPU with AVX512_BF16 or AMX; weights, gradients, moments, adapters and "
      "heads are float32 with either" },
    { .name = "optim-state", .kind = GRAM_OPTION_CHOICE, .at = AT(optim_state), .stages = ALL, .alike = true,
      .choices = "f32|bf16", .usual = { "f32", "f32", "f32" },
      .help = "Keep AdamW's two moments of each trained value in float32 or, rounded up or down by chance, in "
      "bfloat16: half of the memory that they take, and of the bytes that a step moves for them" },

    { .name = "eval-file", .kind = GRAM_OPTION_PATHS, .at = AT(eval_file), .more = AT(more_eval), .stages = ALL,
      .help = "Judge the held-out rows of FILE before the first step and after the last, and say how well it did. May "
      "be given again: the first decides what is best, the others are judged beside it; of raft and rl all are one "
      "set" },
    { .name = "eval-every", .kind = GRAM_OPTION_WIDE, .at = AT(eval_every), .stages = ALL, .alike = true,
      .most = STEPS, .needs = "eval-file", .usual = { "0", "0", "0" },
      .help = "Judge them every N steps too, and keep the model that did it best in DIR/best; 0: not between" },
    { .name = "best", .kind = GRAM_OPTION_FLAG, .at = AT(best), .stages = ALL, .needs = "eval-file",
      .help = "Write the model that judged them best, not the last one. Chosen by these rows, its numbers on them "
      "flatter" },
    { .name = "patience", .kind = GRAM_OPTION_WIDE, .at = AT(patience), .stages = ALL, .most = STEPS,
      .needs = "eval-every", .usual = { "0", "0", "0" },
      .help = "End the run early, where N judgings in a row were no better than the best before them; 0: never" },
    { .name = "max-minutes", .kind = GRAM_OPTION_REAL, .at = AT(max_minutes), .stages = ALL, .above = true,
      .most = 1e9, .help = "Stop, with a checkpoint to resume from, at the first step that ends X minutes after the "
      "command began (default: no limit)" },
    { .name = "save-every", .kind = GRAM_OPTION_WIDE, .at = AT(save_every), .stages = ALL, .most = STEPS,
      .usual = { "50", "50", "10" },
      .help = "Write a checkpoint every N steps and before the model; 0: only when the run is stopped" },
    { .name = "keep", .kind = GRAM_OPTION_SIZE, .at = AT(keep), .stages = ALL, .least = 1, .most = MANY,
      .usual = { "2", "2", "2" }, .help = "Keep the N newest checkpoints" },
    { .name = "extend", .kind = GRAM_OPTION_FLAG, .at = AT(extend), .stages = ALL,
      .help = "With `resume`, go on with another number of steps or epochs though the rate falls: from here on it is "
      "that of the longer run. The last checkpoint stays when the run has ended, as with the constant schedule, which "
      "needs no `extend`" },
    { .name = "resume", .letter = 'r', .kind = GRAM_OPTION_FLAG, .at = AT(resume), .stages = ALL,
      .help = "Go on from the newest whole checkpoint in DIR, or begin where there is none. The run ends with the bits "
      "of one that was never stopped" },
    { .name = "columns", .kind = GRAM_OPTION_WORD, .at = AT(columns), .stages = ALL,
      .help = "What the files of rows call the keys that are read: prompt=question,chosen=good" },
    { .name = "split-by-prompt", .kind = GRAM_OPTION_REAL, .at = AT(split), .stages = LABELLED,
      .most = 1, .below = true,
      .help = "Hold out the rows of about this share of the prompts, chosen by a hash of their text, in the place of "
      "`eval-file`: no prompt is both learnt and judged, and the same ones are held out in every run (default: 0, "
      "none)" },
    { .name = "cache", .kind = GRAM_OPTION_PATH, .at = AT(cache), .stages = LABELLED,
      .help = "Keep the rows as tokens in a file of this directory, which all processes of the machine map and the "
      "next run on the same rows finds again (default: rows of more than 256 MiB lie in such a file, in GRAM_CACHE or "
      "~/.cache/gram, until the run has ended; others in memory)" },
    { .name = "skip-bad", .kind = GRAM_OPTION_FLAG, .at = AT(skip_bad), .stages = ALL,
      .help = "Warn about a row that cannot be read and go on, instead of failing at it" },

    { .name = "judge-prompt", .kind = GRAM_OPTION_TEXT, .at = AT(model.judge_prompt), .stages = LABELLED,
      .losses = JUDGES | WRITERS, .shared = true },
    { .name = "labels", .kind = GRAM_OPTION_LABELS, .at = AT(model.label_a), .stages = LABELLED,
      .losses = JUDGES | WRITERS,
            .shared = true },
    { .name = "template", .kind = GRAM_OPTION_TEMPLATE, .at = AT(model.chat_template), .stages = ALL, .shared = true },
    { .name = "chat-args", .kind = GRAM_OPTION_WORD, .at = AT(model.chat_args), .stages = ALL, .shared = true },
    { .name = "max-tokens", .kind = GRAM_OPTION_SIZE, .at = AT(model.max_tokens), .stages = ALL, .most = STEPS,
      .shared = true },
    { .name = "truncate", .kind = GRAM_OPTION_CHOICE, .at = AT(model.truncate), .stages = ALL, .shared = true,
      .choices = "error|balanced|drop" },
    { .name = "dtype", .kind = GRAM_OPTION_CHOICE, .at = AT(model.dtype), .stages = ALL, .alike = true,
      .choices = "f32|bf16|int8|int8-fast", .shared = true },
    { .name = "base", .kind = GRAM_OPTION_PATH, .at = AT(model.base), .stages = ALL, .shared = true },
    { .name = "threads", .kind = GRAM_OPTION_INT, .at = AT(model.threads), .stages = ALL, .most = 1 << 16,
      .shared = true },
    { .name = "device", .kind = GRAM_OPTION_WORD, .at = AT(model.device), .stages = ALL, .shared = true },
    { .name = "batch-tokens", .kind = GRAM_OPTION_SIZE, .at = AT(model.batch_tokens), .stages = ALL, .alike = true,
      .most = STEPS, .shared = true },
};

const size_t gr_option_rows = GR_COUNT(gr_option_row);
