/* stage.h - one of many stages that make a run, each with an output: a file, or a directory of a model.
 *
 * DIR/stages/NAME is a text: a line "key=value" for each setting that the stage heeds and each file that it reads, and
 * when its output is whole a last line "output=DIGEST". It is written before the stage begins, so that what is there
 * says of which run it is, and a stage is skipped that has its last line and the output of that digest. */
#ifndef GR_API_STAGE_H
#define GR_API_STAGE_H

#include "base/mem.h"

/* The contents of a file, of all parts of a split GGUF, or of all files of a model's directory but what tells of its
 * training (*.jsonl, *.html). GRAM_EIO names what cannot be read. Digests are remembered in *d by path. */
typedef struct { struct gr_digested *p; size_t n, cap; } gr_digests;
gram_status gr_run_stage_digest(gr_digests *d, const char *path, uint64_t *out, gram_err *err);
void gr_digests_clear(gr_digests *d);

typedef struct {
    const char *dir, *name;     /* of the run; of the stage, which may have a slash */
    const char *output;         /* its path */
    gr_buf record;
    bool broken;                /* memory ran out while settings were added */
} gr_run_stage;
/* What it heeds. A value with a control character stands as its digest. */
void gr_run_stage_set(gr_run_stage *s, const char *key, const char *value);
void gr_run_stage_printf(gr_run_stage *s, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* A file or a model that it reads, and what it is to the stage: the key is "contents of WHAT". */
#define GR_CONTENTS "contents of "
gram_status gr_run_stage_reads(gr_run_stage *s, const char *what, const char *path, gr_digests *d, gram_err *err);
/* The same of a model that is the user's, and where it is an adapter of its base; base: as in gram_options. */
gram_status gr_run_stage_reads_model(gr_run_stage *s, const char *what, const char *path, const char *base,
                                     gr_digests *d, gram_err *err);

/* *whole: its output is there, of these settings and inputs. Otherwise the record is there and the stage may begin, or
 * go on. GRAM_EARG names the key that is not as it was, or the output that has changed since. */
gram_status gr_run_stage_begin(gr_run_stage *s, gr_digests *d, bool *whole, gram_err *err);
/* The output is whole. */
gram_status gr_run_stage_end(gr_run_stage *s, gr_digests *d, gram_err *err);
void gr_run_stage_clear(gr_run_stage *s);

#endif
