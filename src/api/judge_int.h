/* judge_int.h - what the kinds of judges behind gram/judge.h share. */
#ifndef GR_API_JUDGE_INT_H
#define GR_API_JUDGE_INT_H

#include <jansson.h>
#include <pthread.h>
#include "api/api_int.h"
#include "gram/rationale.h"
#include "reward/program.h"
#include "reward/scheme.h"

struct gram_judge {
    pthread_mutex_t lock;
    gram_scheme scheme;
    gram_unit unit;
    double lambda;
    gram_model *m;              /* one of these three: m, url, program */
    bool owned;                 /* m is closed with the judge */
    gram_reasoner *reasoner;    /* over m, where it writes its reasons; NULL: it writes none */
    char *reasons;              /* how, in words */
    char *url, *key, *served;   /* served: the name of the server's model and its fingerprint, as it says them */
    gr_program *program;
    bool head, spread;          /* it gives numbers by a reward head; with a sigma */
    char *about;
};

void gr_judge_add_cost(gram_judge_cost *to, const gram_judge_cost *c);

/* Rewards of the n distinct answers of a group by a reward head: out[n], or a malloc'ed sentence in fault[i] for one
 * that cannot be read. */
gram_status gr_judge_server_rewards(gram_judge *j, const gram_group *g, const size_t *index, size_t n, gram_reward *out,
                                    char **fault, gram_err *err);
/* gr_scheme_compare over a server; arg: a struct judging. */
struct judging { gram_judge *j; const gram_group *g; };
gr_scheme_compare gr_judge_server_compare;
/* A server's answer to n pairs; o NULL: it was no JSON. */
gram_status gr_judge_server_read(const gram_judge *j, const json_t *o, size_t n, gram_verdict *out, char **fault,
                                 gram_err *err);
/* Asks for one comparison, and finds out whether the server's model has a head. */
gram_status gr_judge_server_open(gram_judge *j, gram_err *err);

/* reward and error of the distinct answers index[n] of the group. */
gram_status gr_judge_program_rewards(gram_judge *j, const gram_group *g, const size_t *index, size_t n,
                                     gram_judged_group *out, gram_err *err);
/* What a program's line says of response i. */
gram_status gr_judge_program_line(const gram_judge *j, size_t i, gr_str line, gram_judged_group *out, gram_err *err);

#endif
