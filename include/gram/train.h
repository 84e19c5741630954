/* train.h - train a generative reward model: the two stages of GRAM, over every weight or LoRA adapters.
 *
 *     gram_train_options o;
 *     gram_train_options_init(&o, GRAM_STAGE_FINETUNE);
 *     if (gram_finetune("my-model", "pairs.jsonl", "out", &o, NULL, &err)) { puts(err.text); return 1; }
 *
 * MODEL is a Hugging Face directory, a .gguf file or a LoRA adapter's directory; what comes out is a directory. A run
 * depends on its data, its options and the kind of CPU alone: at any number of threads, stopped and resumed or not, it
 * ends with the same bits. Over processes (gram/dist.h) it does so for the same number of them.
 * docs/training.md holds the formulas and what is not there yet. */
#ifndef GRAM_TRAIN_H
#define GRAM_TRAIN_H

#include "gram/dist.h"
#include "gram/gram.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

typedef enum {
    GRAM_STAGE_PRETRAIN,        /* stage 1: to write pairs of answers, -log pi([y_a, y_b] | x); no labels */
    GRAM_STAGE_FINETUNE,        /* stage 2: to give the verdict, two labels' cross-entropy with smoothing */
    GRAM_STAGE_ALIGN            /* a policy writes answers and learns from a judge's rewards: gram/align.h */
} gram_stage;
#define GRAM_STAGES 3

/* What stage 2 minimises; docs/training.md has the formulas. The first two train a judge that reads two answers and
 * names one; the others a reward model (...ForSequenceClassification), whose head reads one. */
typedef enum {
    GRAM_LOSS_GRAM,             /* two labels' cross-entropy, smoothed */
    GRAM_LOSS_GENERATIVE,       /* the same without smoothing: stage 2 alone */
    GRAM_LOSS_BT,               /* Bradley-Terry: -log s(r_w - r_l) */
    GRAM_LOSS_BT_MARGIN,        /* -log s(r_w - r_l - m), m the row's margin */
    GRAM_LOSS_BT_SMOOTH,        /* smoothed */
    GRAM_LOSS_BT_POSREG,        /* - posreg log s(mean r_w) besides */
    GRAM_LOSS_SFT_REG,          /* GRM: (1-a) bt + a (-log s(b log pi(y_w | x))) */
    GRAM_LOSS_PURM,             /* a mean and a spread for each answer: -log E s(r_w - r_l) */
    GRAM_LOSS_RATIONALE,        /* to write reasons and give the verdict behind them: docs/rationale.md */
    GRAM_LOSS_PROOF,            /* to write, told which answer is better, why */
    GRAM_LOSS_DPO,              /* this and what follows trains a policy, which writes answers: -log s(beta (u_w -
                                 * u_l)), u = log pi / pi_ref of an answer; docs/alignment.md has the formulas */
    GRAM_LOSS_CDPO,             /* smoothed */
    GRAM_LOSS_IPO,              /* the squared distance of means over tokens from 1 / (2 beta) */
    GRAM_LOSS_SIMPO,            /* means over tokens and a margin, without a reference */
    GRAM_LOSS_ORPO,             /* the chosen answer's text, and the odds of both, without a reference */
    GRAM_LOSS_KTO               /* single answers that are labelled good or not */
} gram_loss;
gram_status gram_loss_parse(const char *name, gram_loss *out, gram_err *err);   /* "gram", "bt-margin" ... */
const char *gram_loss_name(gram_loss loss);
bool gram_loss_is_scalar(gram_loss loss);   /* bt to purm */
bool gram_loss_writes(gram_loss loss);      /* rationale and proof: text is learnt */
bool gram_loss_is_policy(gram_loss loss);   /* dpo to kto */

/* What gives a reward model its number: the hidden state of the last token times a vector; or GRM's MLP of one hidden
 * layer, y = W2 max(0, W1 h + b1) + b2, which transformers opens when its score is replaced (docs/training.md). */
typedef enum { GRAM_HEAD_LINEAR, GRAM_HEAD_MLP } gram_head_kind;

/* Layers that store their input only and recompute the rest in the backward pass: the same bits, and with every
 * layer a tenth of the activations' memory and about four thirds of the time. */
typedef enum {
    GRAM_RECOMPUTE_AUTO,        /* as many as it takes for a run to fit the machine; with LoRA, which is for little
                                 * memory, for activations of 2 GiB */
    GRAM_RECOMPUTE_ON,          /* all */
    GRAM_RECOMPUTE_OFF          /* none */
} gram_recompute;

/* In what the layers' matrices are multiplied, forward, backward and for their gradients. In bfloat16 both sides of a
 * product are rounded and its sum is float32; weights, gradients, moments, norms, attention, adapters and heads stay
 * float32. For CPUs with AVX512_BF16 or AMX. In float32, a CPU with AMX makes a product of three of bfloat16, off by
 * 2^-15 of it at most. */
typedef enum { GRAM_COMPUTE_F32, GRAM_COMPUTE_BF16 } gram_compute;

/* In what AdamW keeps its two moments of each value from step to step, in memory and in checkpoints. In bfloat16 they
 * are rounded up or down by chance, which follows from the seed, the step and the value's place; a step computes in
 * float32. */
typedef enum { GRAM_STATE_F32, GRAM_STATE_BF16 } gram_optim_state;

typedef enum { GRAM_SCHEDULE_COSINE, GRAM_SCHEDULE_LINEAR, GRAM_SCHEDULE_CONSTANT } gram_schedule;

/* Rows that the data call a tie: their target is a half, or they are left out. */
typedef enum { GRAM_TIES_HALF, GRAM_TIES_DROP } gram_ties;

/* What a kind of run counts besides, under the name that metrics.jsonl has for it. */
typedef struct { const char *name; double value; } gram_number;

/* ---- A policy's ------------------------------------------------------------------------------------ */

/* What an answer is worth to the policy that wrote it; docs/alignment.md has the formulas. */
typedef enum {
    GRAM_ALGORITHM_RAFT,            /* the best answer of each prompt is learnt as if somebody had given it */
    GRAM_ALGORITHM_RAFT_PP,         /* the same with a ratio that is clipped */
    GRAM_ALGORITHM_REINFORCE_REJ,   /* r itself, of prompts whose answers differ in it */
    GRAM_ALGORITHM_RLOO,            /* r less the mean of the other answers' */
    GRAM_ALGORITHM_GRPO,            /* r less the mean, over the standard deviation */
    GRAM_ALGORITHM_DR_GRPO,         /* r less the mean, and answers are not divided by their length */
    GRAM_ALGORITHM_REINFORCE,       /* r less the running mean of all rewards */
    GRAM_ALGORITHM_REMAX,           /* r less that of the greedy answer */
    GRAM_ALGORITHM_ONLINE_DPO,      /* dpo of each prompt's best answer and its worst */
    GRAM_ALGORITHM_PPO              /* each token: what came behind it, less what a value model said would come */
} gram_algorithm;
const char *gram_algorithm_name(gram_algorithm a);

typedef enum { GRAM_KL_NONE, GRAM_KL_K1, GRAM_KL_K2, GRAM_KL_K3 } gram_kl;
typedef enum { GRAM_KL_IN_REWARD, GRAM_KL_IN_LOSS } gram_kl_place;
typedef enum { GRAM_RATIO_NONE, GRAM_RATIO_TOKEN, GRAM_RATIO_ANSWER_MEAN, GRAM_RATIO_ANSWER_SUM } gram_ratio_of;
typedef enum { GRAM_PER_TOKEN, GRAM_PER_ANSWER, GRAM_PER_LENGTH } gram_per;
typedef enum { GRAM_CUT_MASK, GRAM_CUT_KEEP, GRAM_CUT_PENALTY } gram_cut;
typedef enum { GRAM_AGAINST_ROW, GRAM_AGAINST_GREEDY } gram_against;
typedef enum { GRAM_WHITEN_NO, GRAM_WHITEN_YES } gram_whiten;

typedef struct {
    gram_algorithm algorithm;       /* Set it by gram_train_options_set_algorithm() */
    const char *judge;              /* as gram_judge_open() takes it; it has to be given */
    const char *eval_judge;         /* of the held-out prompts; NULL: the same */
    bool     pointwise;             /* judge is asked about one answer at a time, with scale as in gram_options, */
    const char *scale, *pointwise_prompt;   /* and the file of its prompt; NULL: none, gram's own. Of judge alone, which
                                     * is a path then */
    size_t   votes, vote_tokens;    /* rationales that judge, a model here, writes for each comparison, over both
                                     * orders, and the longest; 0 and 512. rationale_format is theirs */
    size_t   eval_votes, eval_vote_tokens;  /* the same of eval_judge, or of judge where there is none; */
    const char *eval_format;        /* as rationale_format, of these */
    bool     no_logprobs;           /* samples.jsonl is without the log-probability of each token */
    size_t   samples;               /* answers to a prompt */
    size_t   rollout;               /* prompts that the same weights answer; batch_rows of them make a step */
    size_t   resample;              /* times that prompts whose answers all have one reward are replaced: 0 */
    const char *sampler;            /* raft: the model that writes what is learnt; NULL: the policy */
    size_t   updates;               /* times that each of their answers is learnt from */
    double   temperature, top_p;
    size_t   max_new;               /* tokens of an answer, its end among them; has to be given */
    gram_kl  kl;
    gram_kl_place kl_in;
    double   kl_target, kl_horizon; /* target 0: beta stays as it is */
    gram_ratio_of ratio;
    double   clip_low, clip_high, dual_clip;
    gram_per per;                   /* what the loss is a mean over */
    gram_cut cut;                   /* answers that ran into max_new */
    double   cut_penalty, length_penalty;
    double   sd_floor;
    gram_whiten whiten;             /* advantages to mean 0 and variance 1, over the tokens of a rollout */
    bool     global;
    double   min_gain;
    const char *scheme, *unit;      /* of judges that compare; NULL: their defaults */
    gram_against against;
    double   lambda;
    const char *value;              /* ppo: what the value model starts from, a reward model or another; NULL: the
                                     * policy, with a new head */
    double   gae_gamma, gae_lambda; /* ppo: 1 and 0.95 */
    double   value_clip, value_weight, value_lr;    /* ppo: 0.2; of its loss beside the policy's: 0.1; 0: 10 * lr */
    uint64_t value_warmup;          /* ppo: steps at first in which the value model alone is trained: 0 */
} gram_align_options;

typedef struct {
    uint64_t step, steps;       /* steps done, and all */
    double   loss;              /* of this step's batch: a mean over rows (stage 2) or target tokens (stage 1) */
    double   accuracy;          /* stage 2: rows of the batch whose chosen answer was preferred before the step, ties
                                 * half; NAN */
    double   lr, grad_norm;     /* the norm before clipping */
    double   tokens_per_s;      /* of this step */
    uint64_t tokens;            /* read since the call began, each sequence whole */
    double   seconds;           /* since the call began */
    double   took;              /* seconds of this step */
    const gram_number *more;    /* [n_more] until the call returns */
    size_t   n_more;
} gram_train_step;
/* Called after each step. Non-zero stops: a checkpoint is written and the call returns GRAM_ESTOPPED. */
typedef int gram_train_fn(void *arg, const gram_train_step *s);

/* A held-out set as the weights of a step judge it. */
typedef struct {
    uint64_t step, rows;
    const char *file;           /* its name, without folders */
    double loss, accuracy;      /* accuracy NAN: stage 1 */
    bool best;                  /* of the first set: better than it was ever judged before */
} gram_train_held;
/* Called for each set each time that the sets were judged. */
typedef void gram_held_fn(void *arg, const gram_train_held *h);

/* A tensor's gradient against difference quotients of the first batch's loss; docs/training.md says how. */
typedef struct {
    const char *tensor;
    size_t values;
    double norm;                /* of the gradient */
    double error, bound;        /* in the worst of its directions, over the size of what is compared; what is allowed */
    bool   agrees;
} gram_gradient_check;
/* Called for each tensor. Non-zero stops. */
typedef int gram_gradient_fn(void *arg, const gram_gradient_check *c);

/* Every number means what it says; gram_train_options_init() fills in the defaults of the GRAM release. */
typedef struct {
    gram_options  model;        /* threads, labels, judge_prompt, chat_template, max_tokens and truncate as for
                                 * gram_open(); batch_tokens: computed together; dtype: matrices are stored
                                 * as GRAM_F32, or as GRAM_BF16 and rounded by chance at each step */
    double        lr;           /* its peak: 2e-5 (stage 1: 1e-5; policies 1e-6) */
    gram_schedule schedule;     /* cosine */
    double        warmup;       /* share of the steps over which the rate rises: 0.1 */
    double        weight_decay; /* of matrices: 0 */
    double        clip;         /* the largest norm of all gradients together: 1; 0: they are not clipped */
    gram_loss     loss;         /* stage 2: gram. Set it by gram_train_options_set_loss() */
    double        smoothing;    /* gram, as the paper defines it: 0.05, which is torch's 0.1. bt-smooth: 0.1 */
    double        order_weight; /* gram, generative: c of the term that makes a pair's two orders agree,
                                 * c ((d_A - d_B) / 2)^2 of the margins z_w - z_l with w read first and second: 0 */
    double        margin_scale; /* bt-margin: multiplies the rows' margins: 1 */
    double        posreg;       /* bt-posreg: 0.1 */
    double        sft_weight, sft_beta;     /* sft-reg: a 0.01 and b 0.1 */
    double        verdict_weight;   /* rationale: of the label's term beside the text's tokens: 1 */
    const char   *rationale_format; /* rationale, proof: as in gram_rationale_options */
    gram_head_kind head;        /* of a reward model that is made: linear. One that MODEL has goes on as it is */
    size_t        head_width;   /* mlp: its hidden units: 1024 */
    bool          freeze;       /* train that head alone; the model stays as it is, and is written with it */
    size_t        batch_rows;   /* rows of a step: 16 (stage 1: 32) */
    size_t        epochs;       /* 2 (stage 1: 1) */
    uint64_t      steps;        /* 0: what epochs ask for, which otherwise do not count */
    uint64_t      seed;         /* of the order of the rows, and of stage 1's draw of pairs: 0 */
    size_t        pairs;        /* stage 1: at most this many pairs of one prompt's responses: 1 */
    gram_ties     ties;         /* stage 2: half */
    const char *const *more_data;   /* further files of rows, behind the call's own; ends with NULL; may be NULL */
    bool          resume;       /* go on from the checkpoint in the output directory; without one, begin;
                                 * where the model is there already, nothing is left to do. It goes on with the
                                 * options that the run began with; under a constant schedule it may get other steps */
    bool          extend;       /* under the other schedules too: rates are then those of the longer run. The last
                                 * checkpoint stays when the run has ended, as under a constant schedule */
    bool          skip_bad;     /* warn about a row that cannot be read and go on, instead of failing at it */
    const char   *columns;      /* of all files of rows: as in gram_file_options */
    double        split;        /* hold out the rows of this share of the prompts, by a hash of each, and judge them in
                                 * the place of eval_file: 0, none */
    const char   *cache;        /* directory of a file in which the rows lie as tokens, mapped by all processes of a
                                 * machine and found again by the next run; NULL: of rows of more than 256 MiB a cache
                                 * directory, from which the file goes when the run has ended, and for others none */
    double        max_minutes;  /* stop at the first step that ends so long after the call; 0: no limit */
    uint64_t      save_every;   /* steps between checkpoints: 50, and one before the model is written; 0: only when the
                                 * run is stopped */
    size_t        keep;         /* so many of them, the newest, are kept: 2 */
    const char   *eval_file;    /* held-out rows, judged before the first step and after the last */
    const char *const *more_eval;   /* further sets, which are judged beside it and decide nothing; ends with NULL */
    uint64_t      eval_every;   /* and each time after so many steps; 0: not between */
    bool          best;         /* write the weights that judged eval_file best, not the last ones */
    uint64_t      patience;     /* end early where so many judgings in a row were no better than the best; 0: never */
    gram_recompute recompute;   /* auto */
    size_t        zero;         /* what processes share out: 1, the optimizer's moments; 2, the gradients too, layer by
                                 * layer; not of adapters, of a head alone, nor of policies that answer */
    gram_compute  compute;      /* GRAM_COMPUTE_F32; not of policies that answer, gram_align() */
    gram_optim_state optim_state;   /* GRAM_STATE_F32 */
    size_t        lora_rank;    /* 0: every weight is trained. Otherwise low-rank adapters of this rank are, beside a
                                 * base that stays as it is: model.dtype may be GRAM_BF16, a GGUF's types are kept, and
                                 * what comes out is an adapter's directory, as PEFT writes it */
    double        lora_alpha;   /* what the adapter gives is times alpha / rank; 0: alpha is 2 * rank */
    double        lora_dropout; /* the share of its inputs, below 1, that an adapter does not see in a step, drawn anew
                                 * for each token, matrix and step: -1, which is that of the adapter that is trained
                                 * further, and 0 for a new one */
    const char   *lora_targets; /* which matrices have one: some of "q,k,v,o,gate,up,down"; NULL: all */
    double        beta;         /* of a policy: how much the distance to the reference weighs: 0.1; simpo 2, stage ALIGN
                                 * 0.05 */
    double        gamma;        /* simpo: the margin: 1 */
    double        good_weight, bad_weight;      /* kto: what good and other answers weigh: 1, 1 */
    const char   *reference;    /* of a policy: the model that it is held against; NULL: the one it starts from */
    gram_align_options align;   /* of GRAM_STAGE_ALIGN */
    gram_dist    *dist;         /* NULL: this process alone. Otherwise the processes that share each step, all of which
                                 * make the call; process 0 alone calls what follows, and writes files */
    gram_train_fn *progress;    /* may be NULL */
    gram_held_fn  *held;        /* may be NULL */
    gram_progress_fn *judging;  /* while eval_file is judged: rows done, and all; may be NULL; non-zero stops */
    gram_gradient_fn *check_gradients;  /* not NULL: nothing is trained or written; the gradients are checked, and where
                                 * one does not agree the call returns GRAM_EFORMAT. 8 forward passes a tensor */
    gram_warn_fn  *note;        /* may be NULL: sentences for a person, such as the memory the run will take */
    void          *arg;         /* handed to all of them */
} gram_train_options;
void gram_train_options_init(gram_train_options *o, gram_stage stage);
/* The loss, with its published parameters. */
void gram_train_options_set_loss(gram_train_options *o, gram_loss loss);
/* The algorithm, with its published parameters. */
void gram_train_options_set_algorithm(gram_train_options *o, gram_algorithm algorithm);

/* ---- What an option is ---------------------------------------------------------------------------- */

typedef enum {
    GRAM_OPTION_REAL, GRAM_OPTION_SIZE, GRAM_OPTION_WIDE, GRAM_OPTION_INT,  /* double, size_t, uint64_t, int */
    GRAM_OPTION_FLAG, GRAM_OPTION_CHOICE,                                   /* bool; an enum in the order of choices */
    GRAM_OPTION_WORD, GRAM_OPTION_PATH, GRAM_OPTION_PATHS,                  /* const char *; with a list of more */
    GRAM_OPTION_TEXT, GRAM_OPTION_LABELS,                                   /* a file's text; label_a and label_b */
    GRAM_OPTION_TEMPLATE                                                    /* a chat template's name, or a path */
} gram_option_kind;

/* The one table of options, from which the command line, recipes, the checks of gram_finetune() and gram_pretrain(),
 * the page of a run and what a resume compares are made. */
typedef struct {
    const char *name;           /* "batch-rows": a recipe's key, and with dashes before it the command line's */
    char letter;                /* 'b': -b, or 0 */
    gram_option_kind kind;
    size_t at, more;            /* where its value is in gram_train_options; PATHS: where the list of further ones is */
    const char *choices;        /* "cosine|linear|constant": of a CHOICE, and of a WORD that is one of them */
    double least, most;         /* of a number */
    bool above, below;          /* these are left out themselves; above: 0 is */
    unsigned stages, losses;    /* which use it: bit GRAM_STAGE_...; of stage 2 bit GRAM_LOSS_..., 0 being all */
    unsigned algorithms;        /* of GRAM_STAGE_ALIGN bit GRAM_ALGORITHM_..., 0 being all */
    const char *needs;          /* an option without which it says nothing */
    const char *usual[GRAM_STAGES];     /* its default in each gram_stage, as text; NULL: none that one word says */
    bool alike;                 /* a resume must have it as the run had it */
    bool shared;                /* other commands than those that train have it too, with its help */
    const char *help;           /* one sentence or more, without the last full stop */
} gram_option;
const gram_option *gram_train_option(size_t i);     /* NULL at the end */
/* Sets an option by its name; a value in words is borrowed. `loss` sets the defaults of its parameters: it comes first.
 * Fails with the name, what was wanted and what was found. */
gram_status gram_train_options_set(gram_train_options *o, const char *name, const char *value, gram_err *err);
/* Fails, with the name, where the stage, the loss or the other options have no use for an option, whose value somebody
 * gave. The calls themselves pass over what has its default. */
gram_status gram_train_option_used(const gram_train_options *o, gram_stage stage, const char *name, gram_err *err);

typedef struct {
    uint64_t steps, resumed;    /* in all, and of them before this call */
    bool     finished;          /* resume: OUT held a model already, and nothing was done; steps is 0 */
    uint64_t rows;              /* in the data, without the following */
    uint64_t bad, dropped, truncated, ties;
    uint64_t alike;             /* pairs left out since their answers are one text, or were when they had been cut */
    uint64_t contradicting;     /* rows whose pair is there with the opposite label as well */
    uint64_t repeated;          /* rows that are there once more */
    double   loss;              /* of the last step; NAN: this call took none, since the run had them all */
    gram_interval before, after;    /* accuracy on eval_file; NAN without it. after: of the weights that were written */
    double   loss_before, loss_after;   /* its loss, likewise */
    uint64_t best_step;         /* whose weights judged it best; 0 where it was judged at the end alone, or, of a policy
                                 * with a best_loss, where the weights that the run began with did */
    double   best_accuracy, best_loss;
    bool     early;             /* the run ended early: patience */
    uint64_t eval_rows, eval_seen;  /* in eval_file, and those of them that are training rows too */
    uint64_t memory_bytes, disk_bytes;  /* the estimates */
    double   seconds;
} gram_train_report;

/* Writes OUT/model.safetensors, config.json and the tokenizer's files, and the run's numbers: metrics.jsonl,
 * held-out.jsonl, tb/ and report.html. Until the end OUT/checkpoints/ holds what a resume needs, and behind it, where
 * the run may get more steps, its last checkpoint; OUT/best/ is the model that judged eval_file best, where that is
 * another one. The model is opened again and compared with what was trained.
 * opt and report may be NULL. */
gram_status gram_finetune(const char *model, const char *pairs, const char *out, const gram_train_options *opt,
                          gram_train_report *report, gram_err *err);
/* unlabeled: rows of a prompt and two or more responses. */
gram_status gram_pretrain(const char *model, const char *unlabeled, const char *out, const gram_train_options *opt,
                          gram_train_report *report, gram_err *err);

/* Adds a LoRA adapter to its base and writes the whole model to the directory OUT, in GRAM_F32 or GRAM_BF16. base:
 * where that is, or NULL, when the adapter says. */
gram_status gram_merge(const char *adapter, const char *base, const char *out, gram_dtype dtype, gram_err *err);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
