/* api_int.h - what stands behind the opaque types of gram.h. */
#ifndef GR_API_INT_H
#define GR_API_INT_H

#include <pthread.h>
#include "file/adapter.h"
#include "file/card.h"
#include "file/io.h"
#include "file/tok_facts.h"
#include "generate/write.h"
#include "gram/generate.h"
#include "gram/train.h"
#include "reward/score.h"

struct gram_tokenizer {
    gr_tok *tok;
    int64_t front;              /* the token that is put in front of a text, which a file may say wrong; -1: none */
    int32_t bos;                /* that the checkpoint names; -1: none */
};

/* A checkpoint's files, before its weights are bound: what gram_open, gram_inspect and the tokenizer share. Of a LoRA
 * adapter they are its base model's, but for the tokenizer where the adapter has one. */
struct checkpoint {
    gr_adapter *adapter;        /* NULL: a whole model */
    char *base;                 /* the base's path, or NULL */
    gr_card card;               /* judge.json of the directory, the adapter's where there is one */
    bool own_words;             /* the adapter has a tokenizer of its own, */
    bool own_chat;              /* or no more than a chat template */
    bool gguf;
    gr_weights *weights;
    gr_config cfg;
    gram_tokenizer words;       /* tok NULL: a directory without tokenizer.json or tokenizer.model */
    gr_chat_facts facts;
    gr_templates chat;          /* this and what follows: behind facts */
    char *bos, *tokens;
};
/* Recognises a directory, of a model or of an adapter, or a .gguf file. Fails for anything else by name. Of the options
 * base, reward_token, reward_weights and note are heeded. */
gram_status gr_checkpoint_open(struct checkpoint *c, const char *path, const gram_options *opt, gram_err *err);
/* Its tokenizer and chat templates alone; of a directory, neither weights nor config.json need be there. */
gram_status gr_checkpoint_words(struct checkpoint *c, const char *path, const char *base, gram_err *err);
void gr_checkpoint_clear(struct checkpoint *c);
/* judge.json of a whole model in the directory `out`: c's, but for what it says of a base. Where that is nothing, no
 * file is written. */
gram_status gr_checkpoint_write_card(const struct checkpoint *c, const char *out, gram_err *err);
/* The template that the options ask for, or the checkpoint's own. judge: what it writes is read by a judge, which does
 * not think before its verdict. */
gram_status gr_api_chat(gr_chat *out, const struct checkpoint *c, const gram_options *o, bool judge, gram_err *err);
/* Its tokenizer alone, to be closed: out->tok. base: as in gram_options. */
gram_status gr_checkpoint_tokenizer(gram_tokenizer *out, const char *path, const char *base, gram_err *err);
char *gr_api_base_name(const char *path);       /* its last part, slashes at its end left out; free() it */

/* "2026-11-26 05:30 UTC"; NULL where there is no clock. */
const char *gr_api_date(char text[32]);

struct gram_model {
    char *name;                 /* the path's last part, for reports */
    gram_warn_fn *note;         /* of gram_options */
    void *note_arg;
    uint64_t program;           /* bytes that the process held before the weights were there */
    uint64_t told;              /* the most memory that writing has announced */
    gram_dtype dtype;
    double lambda;
    double temperature;         /* 0: none, or not of account with these options */
    pthread_mutex_t lock;       /* held for a forward pass: the model's threads serve one call at a time. Recursive:
                                 * writers go on in a turn, on the thread that scores */
    struct checkpoint file;
    gr_device *device;
    gr_model *model;
    gr_judge judge;
    char *template, *template_args;     /* of gram_options, or NULL */
    gr_chat_kind chat;          /* NONE: no template was recognised, and judging fails with `why` */
    gram_err why;
    gr_scorer scorer;
    gr_work *writing;           /* passes of a few rows: a token each of some texts, and their prompts */
    gr_kv_tree *cache;
    gr_ids ends;                /* tokens that end an answer; found when the first is written */
    size_t text_bytes;          /* keys and values of the texts that are written at once */
    gr_write *chats;            /* what writers share; NULL: none was opened yet */
    gr_kv_tree *chats_kv;
    size_t writers;             /* that are open */
    uint64_t chat_steps;        /* that the engine has made */
    gram_turns turns;           /* due NULL: nobody asks for any */
};

/* The words that m reads, where they are not what is usual for it, as judge.json says them: *out is all NULL before. A
 * template in Jinja is a file of its own. reward: whether m is a reward model, which has no judge prompt. */
gram_status gr_api_words(gr_card_reads *out, const gram_model *m, bool reward, gram_err *err);
/* The form in which reasons are written: the one that was asked for, else the model's own; NULL: the usual one. */
const char *gr_api_format(const gram_model *m, const char *asked);
/* All of gram_open() but the weights and the threads: files, options and the judge. A scalar loss makes a reward model
 * of what is no such model yet; any other loss takes it as it is. */
gram_status gr_api_open_files(gram_model **out, const char *path, const gram_options *opt, gram_loss loss,
                              gram_err *err);
/* Of this process, as many as open its models and train; 0: one for each core. */
size_t gr_api_threads(const gram_train_options *o);
gram_status gr_api_ready(const gram_model *m, gram_err *err);     /* fails where judging cannot work */

/* GRAM_EARG: a and b have different vocabularies. what is b, as in "the reference", and a the policy. */
gram_status gr_api_same_words(const gram_model *a, const gram_model *b, const char *what, gram_err *err);

/* Adds the facts of gram_info. */
void gr_api_describe(gram_info *out, const gr_config *c, const gr_card *card);
gram_status gr_api_kv_open(gr_kv_tree **out, const gram_model *m, size_t limit, gram_err *err);
enum { GR_API_LIVE = 96 };      /* texts that are written at once: a tile of the products */
/* products: FEW or TILES. prefill: prompt tokens that a step reads. */
typedef struct { gram_products products; size_t guesses, prefill; } gr_api_engine;
/* An engine that writes with the model's weights, and its keys and values; both to be closed. m->ends is there then.
 * With the model's lock held. */
gram_status gr_api_write_engine(gram_model *m, const gr_api_engine *e, gr_write **out, gr_kv_tree **kv, gram_err *err);
/* The head as texts that are written in tiles, and their log-probabilities, have it. */
gr_head_as gr_api_head(const gram_model *m);
/* Whether texts that are written so have activations of one byte, and a head of 8 bits. */
bool gr_api_writes_bytes(const gram_model *m, gram_products products);
/* m->ends, each id once; m has its weights. */
gram_status gr_api_find_ends(gram_model *m, gram_err *err);
gram_status gr_api_prompt_ids(const gram_model *m, gram_prompt prompt, gr_ids *out, gram_err *err);
/* What the weights will take in memory: the layers' matrices in the dtype asked for, the rest as the file has it. */
uint64_t gr_api_weight_bytes(const gr_config *c, const gr_weights *w, gram_dtype dtype);
/* GRAM_ENOMEM: the model is larger than the memory of its GPU. Before its weights are read. */
gram_status gr_api_fits(const gram_model *m, const gram_options *opt, gram_err *err);

#define GR_API_BATCH_TOKENS 4096        /* computed together where nothing is asked for */
/* What a run of writing holds at most, in bytes: for prompts of `tokens` tokens in all (longest: of one) and n answers
 * of max_new tokens to each; tokens 0: not known. */
typedef struct { size_t tokens, longest, prompts, n, max_new, guesses; gram_products products; } gr_api_written;
typedef struct { uint64_t all, weights, texts, pass, program; } gr_api_memory;
uint64_t gr_api_lay_bytes(const gram_model *m, gram_products products);
gr_api_memory gr_api_write_memory(const gram_model *m, const gr_api_written *w);
/* Says it by the model's note where it is more than was said before. GRAM_ENOMEM: the machine has less. */
gram_status gr_api_tell_memory(gram_model *m, const gr_api_written *w, gram_err *err);
/* The next prompt, which lives until the next call; NULL: there are no more. */
typedef gram_status gr_api_prompts(void *arg, const gram_prompt **out, gram_err *err);
/* How a run that is asked for so many answers makes its products: FEW or TILES. */
gram_products gr_api_products(const gram_model *m, size_t answers);
/* gram_generate() over a source of prompts, the first of which has the index `first`. between, where not NULL, is
 * called after each step, when nothing of the model is locked: what takes long, or needs the model, belongs there. */
typedef gram_status gr_api_between(void *arg, gram_err *err);
gram_status gr_api_generate(gram_model *m, gr_api_prompts *source, void *source_arg, size_t first,
                            const gram_generation *g, gram_answer_fn *fn, gr_api_between *between, void *arg,
                            gram_err *err);

gr_sampling gr_api_sampling(const gram_generation *g);
/* All ids that end an answer: m->ends, which are there, stop_ids (GRAM_EARG: one that is no token), and the special
 * tokens among the stop strings, since a text holds none of them. */
gram_status gr_api_ends(const gram_model *m, const gram_generation *g, gr_ids *out, gram_err *err);
gram_finish gr_api_finish(gr_finish f);
/* The model's lock. A turn beside a pass goes without: the thread that scores holds it until the turn has ended, and
 * touches nothing of what writers have. */
void gr_api_lock(gram_model *m);
void gr_api_unlock(gram_model *m);
/* The lock around what the scorer computes, which lets others have their turns. */
void gr_api_begin_scoring(gram_model *m);
void gr_api_end_scoring(gram_model *m);

/* log sum_v exp(z[v]), with the largest taken out first. */
double gr_api_log_sum_exp(const float *z, size_t n);
/* gram_score() that says which pair was to blame: *bad, or n. */
gram_status gr_api_score(gram_model *m, const gram_pair *pair, size_t n, gram_verdict *out, size_t *bad, gram_err *err);
/* GRAM_EARG where one of them is NULL: they are compared with each other before they are read. */
gram_status gr_api_responses(const char *const *response, size_t n, gram_err *err);
/* out[pairs], as they are judged for a ranking of response[n]: pair[] as gram_compare_fn has it. */
void gr_api_compared(gram_pair *out, gram_prompt prompt, const char *const *response, size_t n, const char *reference,
                     const size_t (*pair)[2], size_t pairs);

#endif
