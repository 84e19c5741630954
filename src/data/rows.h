/* rows.h - preference data in the forms found in the wild, as one kind of row.
 *
 * Forms (docs/formats.md): prompt/chosen/rejected, each a string or a message list; chosen/rejected alone with
 * the prompt implicit in their common turns (message lists, or HH transcripts "\n\nHuman: ...\n\nAssistant: ...");
 * response1/response2/overall_preference; ranked completions; prompt/responses groups. */
#ifndef GR_DATA_ROWS_H
#define GR_DATA_ROWS_H

#include "base/mem.h"
#include "file/io.h"
#include "gram/gram.h"

/* One labelled pair. Everything is owned by the row and freed by gr_row_clear(). */
typedef struct {
    char *id;                   /* the row's own, or "FILE:LINE"; for expanded completions "ID#i-j" */
    char *source, *subset;      /* NULL: none */
    gram_message *turn;         /* the conversation, ending with a user turn */
    size_t n_turns;
    char *tools;                /* functions that the assistant may call, JSON; NULL: none */
    char *criteria;             /* what answers are judged by; NULL: nothing is said */
    char *chosen, *rejected;
    char *chosen_extra, *rejected_extra;        /* JSON, as in gram_message; NULL: texts alone */
    double margin;              /* how much better chosen is, where the data say; NAN: not said */
    double weight;              /* 1 unless the data say */
    double soft;                /* probability that chosen is better, where the data say; 1 otherwise */
    bool tie;                   /* the data call it a tie */
    bool swapped;               /* chosen stands second in the row: its "Response 2" */
    struct gr_reasons *reasons; /* where the reader was asked for them and the row has some; NULL otherwise */
} gr_row;

/* Why the chosen answer is better, in the row's own words: texts that name the row's answers by their place in it. */
typedef struct gr_reasons {
    char **text;
    size_t n;
    int label;                  /* which place the reasons are said to speak for, 0 or 1; -1: nothing says it */
    bool dropped;               /* no reason was found for it, as `gram prove` says: it has none, and is no bad row */
    size_t contrary;            /* further ones that speak for the other answer, or none, and are left out */
    size_t unsaid;              /* HelpSteer3's annotators without a score or without reasoning */
} gr_reasons;
void gr_row_clear(gr_row *r);
gram_prompt gr_row_prompt(const gr_row *r);     /* borrows */
gram_pair gr_row_pair(const gr_row *r);         /* a is chosen; borrows */
/* About how many tokens judging the row computes: the question once, both answers in both orders. To cut work into
 * pieces by, before anything is tokenized. */
size_t gr_row_tokens(const gr_row *r);

uint64_t gr_prompt_digest(gram_prompt p);           /* of all that it holds */
/* Of all that a judge reads of it, the id not being read: prompt, tools, criteria and answers. */
uint64_t gr_row_digest(const gr_row *r);

/* Whether both answers are the same, tool calls and all. */
bool gr_row_same(const gr_row *r);

/* One group of responses. */
typedef struct {
    char *id;
    gram_message *turn;
    size_t n_turns;
    char *tools, *criteria;
    char **response;            /* texts: one that calls a tool makes its row a bad one */
    size_t n;                   /* two or more */
    char *reference;            /* the row's "reference" answer; NULL: none */
} gr_group;
void gr_group_clear(gr_group *g);
gram_prompt gr_group_prompt(const gr_group *g);     /* borrows */
uint64_t gr_group_digest(const gr_group *g);        /* as gr_row_digest(), of all responses and the reference */

/* Where the row under reading stands; errors begin with it. */
typedef struct {
    const char *name;
    uint64_t line;
    gram_err *err;
    bool element;               /* of a file that is one JSON array; line is its number there, from 1 */
    unsigned odd;               /* what was put aside in the row's JSON: see rows_int.h */
    bool reasons;               /* they are read, too */
} gr_at;
/* GRAM_EFORMAT, "NAME:LINE: ..." or "NAME: element N: ...". */
gram_status gr_bad(const gr_at *at, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
gram_status gr_row_nomem(const gr_at *at);
/* Refuses a row in whose texts something was put aside that no text may hold, such as half a surrogate pair. */
gram_status gr_row_check(const gr_at *at, const gr_row *r);
/* The row's "id" or "pair_id", otherwise "NAME:LINE", and `suffix`; malloc'ed, NULL: out of memory. */
struct json_t;
char *gr_row_id(const gr_at *at, const struct json_t *row, const char *suffix);

/* A stream of rows over a file. bad rows: *out is not filled, GRAM_EFORMAT names file and line, and the next call
 * goes on with the following line, so that a caller may count and skip. A code that shows that other rows of the file
 * would be read the wrong way round (labels 0 and 1 where 1 and 2 are read) is GRAM_EIO, before the first row with a
 * code where the file can be read twice. */
typedef struct gr_reader gr_reader;
/* path: one file, or several, read as if they stood behind each other (paths.h); lines are counted in each.
 * columns: "prompt=question,chosen=good", what the keys that are read here are called in the file; NULL: as they are.
 * It is borrowed until gr_reader_close(). GRAM_EARG: it names a key that is not read. */
gram_status gr_reader_open(gr_reader **out, const char *path, const char *columns, gram_err *err);
void gr_reader_close(gr_reader *r);
/* GRAM_EARG: `out` is one of the files that are read, and would be written over. */
gram_status gr_reader_spares(const gr_reader *r, const char *out, gram_err *err);
/* Before the first row: of n lines (elements of an array) rows come from lines (n share / shares, n (share + 1) /
 * shares] alone. Those before are read and counted, not given; a bad one among them is another share's. GRAM_EARG: of a
 * pipe. share < shares. */
gram_status gr_reader_share(gr_reader *r, size_t share, size_t shares, gram_err *err);
void gr_reader_share_of(gr_reader *r, const gr_reader *other);      /* the same of another reader of these files */
uint64_t gr_reader_passed(const gr_reader *r);      /* rows before the share, once its first row is there */
/* Rows of pairs also bring their reasons: "rationale" (a text or a list of them) with "rationale_label" where it is
 * there, or HelpSteer3's individual_preference. */
void gr_reader_want_reasons(gr_reader *r);
/* *end true: no more rows. A line may give several rows (ranked completions). */
gram_status gr_reader_pair(gr_reader *r, gr_row *out, bool *end, gram_err *err);
gram_status gr_reader_group(gr_reader *r, gr_group *out, bool *end, gram_err *err);
/* Either of them, as the row is: a group has "responses" and leaves *pair empty, a pair leaves *group empty. Of all
 * rows: there is no share of them. */
gram_status gr_reader_any(gr_reader *r, gr_group *group, gr_row *pair, bool *end, gram_err *err);
/* A row's conversation alone, ending with a turn of the user or of a tool: a prompt, a list of messages, or the prompt
 * of a pair. *out has no responses. */
gram_status gr_reader_prompt(gr_reader *r, gr_group *out, bool *end, gram_err *err);
/* For best-of-n: a group, or without `group` a prompt with its "reference", which must not have "responses" of its own.
 * *row is the caller's and holds what else the row says. */
gram_status gr_reader_asked(gr_reader *r, bool group, gr_group *out, struct json_t **row, bool *end, gram_err *err);
/* {"prompt", "completion", "label"}: a prompt, an answer and whether it is good; *out has no responses, and the strings
 * of *answer are the caller's. */
typedef struct { char *text; bool good; double weight; } gr_labelled;
gram_status gr_reader_labelled(gr_reader *r, gr_group *out, gr_labelled *answer, bool *end, gram_err *err);
/* A row as it stands, for forms that are read elsewhere: *row is the caller's, NULL at the end. */
gram_status gr_reader_json(gr_reader *r, struct json_t **row, gram_err *err);
/* What was put aside in such a row that no text or number may be ("NaN", "a lone surrogate ..."); NULL: nothing. */
const char *gr_json_find_odd(const gr_at *at, const struct json_t *v);
gr_at gr_reader_at(const gr_reader *r, gram_err *err);      /* the row last read */
uint64_t gr_reader_line(const gr_reader *r);        /* of its file */
/* Of the lines of all files, or of the share, how many were read and how many there are (0: not known). */
uint64_t gr_reader_done(const gr_reader *r);
uint64_t gr_reader_total(const gr_reader *r);
/* Of all files, once there was a share of them: how many, and the digest of them; 0 before that. */
uint64_t gr_reader_lines(const gr_reader *r);
uint64_t gr_reader_digest(const gr_reader *r);

/* The parser alone, for tests and fuzzing: one line of JSON to *n rows (malloc'ed array of cleared-by-caller rows).
 * name and line serve ids and errors. */
gram_status gr_rows_parse(const char *name, uint64_t line, const char *json, size_t bytes, gr_row **out, size_t *n,
                          gram_err *err);
gram_status gr_prompt_parse(const char *name, uint64_t line, const char *json, size_t bytes, gr_group *out,
                            gram_err *err);
gram_status gr_group_parse(const char *name, uint64_t line, const char *json, size_t bytes, gr_group *out,
                           gram_err *err);

#endif
