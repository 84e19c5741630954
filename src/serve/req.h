/* req.h - one request on its way: its JSON, its job, its answer, and the words an endpoint is written in.
 *
 *     body --> start() --> job --> worker --> finish() --> out
 *                 |                              |
 *                 +-- out set: answered at once  +-- out not set: the job was filled again, once more round
 *
 * start() and finish() run on MHD's thread or, of large requests, the reader's, so they never wait. They return 0, or
 * the HTTP status of gr_refuse(). */
#ifndef GR_SERVE_REQ_H
#define GR_SERVE_REQ_H

#include <jansson.h>
#include "base/mem.h"
#include "serve/queue.h"
#include "serve/serve.h"

struct MHD_Connection;
typedef struct gr_req gr_req;
typedef int gr_req_fn(gr_req *r);

typedef struct {
    const char *method, *path;
    gr_req_fn *start;
    bool open;                      /* needs no key and no model: the page, /health */
    bool light;                     /* answers in every state of the server */
} gr_route;
extern const gr_route gr_routes[];
extern const size_t gr_n_routes;

enum { GR_ID_MAX = 72 };

struct gr_req {
    gr_serve *s;
    const gr_serve_options *opt;
    gr_engine *engine;
    const gr_route *route;          /* NULL: not found */
    json_t *in, *out;               /* the body; the answer */
    json_t *odd;                    /* stands in the body for each string that is no text, as odd_why says */
    const char *odd_why;
    const char *tools;              /* the body's, as text */
    json_t *faults;                 /* of a refusal: the elements at fault */
    char at[64];                    /* gr_at() */
    const char *asset, *type;       /* or the answer as text, static or owned by the request; type NULL: JSON */
    size_t asset_n;
    char id[GR_ID_MAX];
    double begun;                   /* gr_now() */
    gr_job job;
    gr_req_fn *read, *finish;       /* read: reward.c's, called once before finish; NULL: none */
    void *state;                    /* the endpoint's own, from gr_req_alloc() */
    void (*clear)(gr_req *r);       /* frees what state holds besides; NULL: nothing */
    /* Judged so far, and their tokens or those of texts; what is written the worker counts. */
    _Atomic size_t pairs, tokens;

    int status;                     /* 0: not answered yet */
    char why[1024];                 /* and the refusal's sentence ... */
    char param[64];                 /* ... and the field it is about; "": none */
    double retry_after;             /* seconds; 0: the answer does not say */
    int if_failed;                  /* the status of the model's failure; 0: 500 */

    struct gr_chunk *chunk;         /* memory that goes with the request */
    /* http.c's and hangup.c's own. */
    struct MHD_Connection *conn;
    int fd, phase;
    int sent;                       /* the status that the client is told; 0: none yet */
    struct gr_conn *place;          /* its connection; NULL: none, or out of memory */
    bool last;                      /* the connection is closed after its answer */
    bool http11, counted, discard, probed, watched, looked_at;
    bool running, orphan;           /* the queue has the job; the connection is gone, done() frees the request */
    size_t discarded;
    const char *allow;              /* for 405 */
    const char *method, *path;
    gr_buf body;
    struct gr_stream *stream;       /* the answer is sent while it is written; chat.c */
    uint64_t seq;
    gr_req *prev, *next;
    gr_req *next_read;              /* reader.c */
    char *text;                     /* the answer, where the reader wrote it: malloc'ed */
};

/* ---- Refusing ---- */

/* return gr_refuse(r, 422, "pairs", "..."); param may be NULL. The sentence holds no text of the request. */
int gr_refuse(gr_req *r, int status, const char *param, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
int gr_refuse_err(gr_req *r, const gram_err *err);         /* a failure of the library, as an HTTP status */
int gr_nomem_req(gr_req *r);
/* Refuses for element i of field name, which is at fault alone. Again for the next: the sentence is about the first,
 * the error's "items" about all. */
int gr_fault_add(gr_req *r, const char *name, size_t i, const char *param, const char *why);

/* ---- Memory that lives as long as the request ---- */

void *gr_req_alloc(gr_req *r, size_t n, size_t size);       /* zeroed; NULL: refused already */
char *gr_req_strndup(gr_req *r, const char *s, size_t n);
void gr_req_free_all(gr_req *r);

/* ---- Reading fields; 0 or the status of a refusal that names the field ---- */

json_t *gr_field(const gr_req *r, const char *const *names);        /* the first of a NULL-ended list that is there */
int gr_read_bool(gr_req *r, const char *name, bool otherwise, bool *out);
int gr_read_size(gr_req *r, const char *name, size_t otherwise, size_t *out);
int gr_read_number(gr_req *r, const char *name, double otherwise, double *out);
int gr_read_string(gr_req *r, const char *name, const char *otherwise, const char **out);   /* otherwise NULL: needed */
int gr_read_criteria(gr_req *r, const char **out);          /* the request's, for all that it asks; none: *out stays */
/* The field's text is not one: missing, null, of another kind, or with a character that text does not hold. */
int gr_refuse_text(gr_req *r, const json_t *v, const char *name);

/* A conversation with its answer. extra: what the answer holds besides its text, as of a gram_message. */
typedef struct { gram_prompt prompt; const char *answer, *extra; } gr_talk;

/* "name[i]", as refusals call an element; it lives until the next call. */
const char *gr_at(gr_req *r, const char *name, size_t i);
/* A string, or an OpenAI list of text parts joined. */
int gr_read_content(gr_req *r, json_t *v, const char *name, const char **out);
/* A string (one user turn) or a list of messages that ends with the user's, or a tool's. */
int gr_read_prompt(gr_req *r, json_t *v, const char *name, gram_prompt *out);
/* A string, a message of the assistant, or a list of that one message. */
int gr_read_answer(gr_req *r, json_t *v, const char *name, const char **out, const char **extra);
/* Messages that end with the assistant's. */
int gr_read_conversation(gr_req *r, json_t *v, const char *name, gr_talk *out);
/* Texts of gram_read_chat()'s turns, which it frees, as they go with the request; NULL: refused. */
gram_message *gr_keep_turns(gr_req *r, gram_message *turn, size_t n);
int gr_split_turns(gr_req *r, const gram_message *turn, size_t n, const char *name, gr_talk *out);
/* A list of 1..max_rows elements. */
int gr_read_list(gr_req *r, const char *name, json_t *v, size_t *n);
int gr_read_ids(gr_req *r, json_t *v, const char *name, int32_t **out, size_t *n);
bool gr_is_text(const char *p, size_t n);                   /* UTF-8 without NUL */

/* ---- Fields that are not read: fields.c ---- */

typedef enum {
    GR_READS_FOREIGN,                       /* scores in the shape of another server, with what fields that has */
    GR_READS_SCORE, GR_READS_RANK, GR_READS_REWARD, GR_READS_CHAT, GR_READS_COMPLETION, GR_READS_TEMPLATE,
    GR_READS_TEXT, GR_READS_TOKENS
} gr_reads;
/* Refuses, by its name, a field that may change the result and that such a path does not read, */
int gr_refuse_unread(gr_req *r, gr_reads which);
int gr_refuse_unread_pair(gr_req *r, const struct json_t *pair);        /* of an element of "pairs", */
int gr_refuse_without_rationale(gr_req *r);                             /* or one of rationales where none is written */
/* One value by two names, which must not say two things; by any of a NULL-ended list. */
int gr_check_names(gr_req *r, const char *a, const char *b);
int gr_check_all_names(gr_req *r, const char *const *names);
/* Of a NULL-ended list of fields one alone may be there: what the others say would be left out. */
int gr_check_one_of(gr_req *r, const char *const *names);

/* ---- Answers ---- */

json_t *gr_verdict_json(const gram_verdict *v);
json_t *gr_usage_json(const gr_req *r);                     /* prompt_tokens, total_tokens */
const char *gr_model_name(const gr_req *r);
const char *gr_fingerprint(const gr_req *r);    /* of the model that is open; NULL: it has none */
/* Appends v, which it takes over. A failure leaves *list NULL, so that the answer it was for fails as a whole: an
 * answer never has fewer scores than the request has inputs. */
void gr_push(json_t **list, json_t *v);
/* Takes over out; NULL (out of memory while it was built) becomes a refusal. */
int gr_answer(gr_req *r, json_t *out);

/* ---- Comparisons ---- */

/* Gives the job n pairs, checks the limits and counts them; verdicts, and why some could not be judged, are read in
 * finish. text as in gr_job. */
int gr_ask(gr_req *r, gram_pair *pair, const gram_text *const *text, size_t n, gr_req_fn *finish);
void gr_clear_faults(gr_job *job);
int gr_ask_step(gr_req *r, gr_step_fn *step, void *arg, gr_req_fn *finish);

#endif
