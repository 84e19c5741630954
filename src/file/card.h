/* card.h - judge.json, which a judge's directory may hold: what it is called, the temperature that its probabilities
 * are divided by, what it was trained to read, and which base model it was made over.
 *
 *     { "name": "gram-scalar", "temperature": 1.37, "about": "any text",
 *       "reads": { "prompt": "a judge prompt", "labels": ["A", "B"], "template": "chatml", "chat_args": { },
 *                  "format": "rm-r1" },
 *       "base": { "file": "X.gguf", "bytes": 98157568, "sha256": "64 digits" },
 *       "calibration": { what `gram eval --fit-temperature` found, for people } }
 *
 * Each key may be missing. One that is not known is an error: it could be meant to change a number. */
#ifndef GR_FILE_CARD_H
#define GR_FILE_CARD_H

#include "base/mem.h"
#include "gram/gram.h"

#define GR_CARD_FILE "judge.json"
enum { GR_CARD_MOST = 1 << 20 };        /* bytes */

/* The words around a pair. All owned; NULL: not said, so that what is usual for the model holds. */
typedef struct {
    char *prompt;                   /* the judge prompt */
    char *label[2];                 /* both or none */
    char *template;                 /* the name of a chat template */
    char *chat_args;                /* a JSON object: the template's arguments */
    char *format;                   /* how reasons are written: a form's name, or a JSON object */
} gr_card_reads;

typedef struct {
    bool there;
    char *name, *about;             /* owned; NULL: not said */
    gr_card_reads reads;
    double temperature;             /* above 0; 0: not said */
    char *base_file, *base_sha256;  /* owned; the first NULL: no base is said, and the rest says nothing */
    uint64_t base_bytes;
} gr_card;

/* path: the judge's directory, or a file, which has none. Absent: all zeros. */
gram_status gr_card_read(gr_card *out, const char *path, gram_err *err);
gram_status gr_card_parse(gr_card *out, const char *name, const char *text, size_t n, gram_err *err);
void gr_card_clear(gr_card *c);
void gr_card_forget_words(gr_card *c);
/* Whether it says anything of the words around a pair. */
bool gr_card_says_words(const gr_card *c);

/* path: the file itself. fit: how the temperature was found; NULL: that is not said. */
gram_status gr_card_write(const char *path, const gr_card *c, const gram_temperature_fit *fit, gram_err *err);

#endif
