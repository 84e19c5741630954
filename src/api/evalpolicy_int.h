/* evalpolicy_int.h - the files of DIR of gram/evalpolicy.h: lines in the order of the rows, whole or on their way. */
#ifndef GR_API_EVALPOLICY_INT_H
#define GR_API_EVALPOLICY_INT_H

#include <jansson.h>
#include "api/job.h"

typedef struct {
    gr_group row;               /* the prompt */
    json_t *json;               /* the row as it stands */
    const char *given;          /* the baseline's answer, of a column; NULL: none */
} gr_eval_prompt;               /* answer k to prompt i is of place i n + k of the lines */

typedef struct {
    gr_eval_prompt *p;
    size_t n, cap;
    uint64_t digest;            /* of what the run reads of them */
} gr_eval_prompts;
/* column: of the baseline's answers, NULL: none. Bad rows as o->skip_bad says; *bad counts them. */
gram_status gr_eval_prompts_read(gr_eval_prompts *out, const char *path, const char *column, const gram_file_options *o,
                                 uint64_t *bad, gram_err *err);
void gr_eval_prompts_clear(gr_eval_prompts *p);

typedef struct {
    char *path;
    json_t *line;               /* an array of those there are */
    gr_out *out;                /* NULL: the file is whole */
    size_t resumed;
} gr_eval_file;
/* DIR/name, with `each` lines for each row. resume: with those of an earlier run, each of which has to be of the row in
 * its place. */
gram_status gr_eval_file_open(gr_eval_file *f, const char *dir, const char *name, bool resume,
                              const gr_eval_prompts *rows, size_t each, gram_err *err);
gram_status gr_eval_file_add(gr_eval_file *f, json_t *line, gram_err *err);     /* takes it over; NULL: out of memory */
gram_status gr_eval_file_commit(gr_eval_file *f, gram_err *err);
void gr_eval_file_close(gr_eval_file *f);

/* DIR/run.json: written, and on resume compared; takes o over, NULL: out of memory. Without resume what an earlier run
 * left under the names of the other files goes. */
gram_status gr_eval_settings(const char *dir, json_t *o, bool resume, gram_err *err);

#endif
