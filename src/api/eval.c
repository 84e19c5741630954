/* eval.c - gram_eval() over src/eval: a model as its scorer, and the facts of the run. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "api/api_int.h"
#include "base/cpu.h"
#include "base/digest.h"
#include "base/err.h"
#include "eval/compare.h"
#include "eval/eval.h"
#include "eval/folder.h"

static gram_status score(void *arg, const gram_pair *pair, size_t n, gram_verdict *out, gram_err *err)
{
    return gram_score(arg, pair, n, out, err);
}

const char *gr_api_date(char text[32])
{
    time_t t = time(NULL);
    struct tm tm;

    return gmtime_r(&t, &tm) && strftime(text, 32, "%Y-%m-%d %H:%M UTC", &tm) ? text : NULL;
}

/* The facts of a run, and the texts that they borrow. */
typedef struct { char digest[17], date[32], chat[32]; gr_eval_facts facts; } facts_of;

static void collect(facts_of *f, gram_model *m)
{
    static const char *const dtypes[] = { "f32", "bf16", "int8" };
    static const char *const truncates[] = { "error", "balanced", "drop" };

    snprintf(f->digest, sizeof f->digest, "%016" PRIx64,
             m->judge.plain ? GR_DIGEST : gr_digest(GR_DIGEST, m->judge.prompt, strlen(m->judge.prompt)));
    if (m->chat == GR_CHAT_JINJA)       /* a run is resumed with the template and the variables that it began with */
        snprintf(f->chat, sizeof f->chat, "jinja %016" PRIx64, m->judge.chat.digest);
    else
        snprintf(f->chat, sizeof f->chat, "%s", gr_chat_name(m->chat));
    f->facts = (gr_eval_facts){
        .model = m->name, .dtype = dtypes[m->dtype], .cpu = gr_cpu_name(gr_cpu()),
        .chat_template = f->chat,
        .truncate = truncates[m->judge.truncate], .date = gr_api_date(f->date),
        .prompt_hash = m->judge.plain ? NULL : f->digest, .lambda = m->lambda,
        .label_a = m->judge.label_text[0], .label_b = m->judge.label_text[1], .max_tokens = m->judge.max_tokens,
        .single_order = m->scorer.single_order, .batch_tokens = m->scorer.batch_tokens
    };
}

gram_status gram_eval(gram_model *m, const char *const *file, size_t n, const gram_eval_options *opt,
                      gram_eval_summary *out, char **table_out, gram_err *err)
{
    gram_status rc = gr_api_ready(m, err);
    facts_of f;

    if (rc)
        return rc;
    collect(&f, m);
    return gr_eval_run(file, n, opt, &f.facts, score, m, out, table_out, err);
}

gram_status gram_eval_folder(gram_model *m, const char *folder, const gram_eval_options *opt, char **table_out,
                             gram_err *err)
{
    gram_status rc = gr_api_ready(m, err);
    facts_of f;

    if (rc)
        return rc;
    collect(&f, m);
    return gr_eval_folder(folder, opt, &f.facts, score, m, table_out, err);
}

gram_status gram_eval_compare(const char *a, const char *b, const char *json, const char *rows,
                              gram_eval_comparison *out, char **table_out, gram_err *err)
{
    return gr_eval_compare(a, b, json, rows, out, table_out, err);
}
