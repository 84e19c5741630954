/* generation.h - the options of how answers are written. */
#ifndef CLI_GENERATION_H
#define CLI_GENERATION_H

#include "cli/cli.h"
#include "gram/generate.h"

extern struct poptOption cli_generation_table[];    /* --greedy, --temperature, ... --speculate */
/* --n, which a command has in its own words: { "n", 'n', POPT_ARG_LONGLONG, &cli_answers, CLI_ANSWERS, ... }. */
enum { CLI_ANSWERS = 1 };
extern long long cli_answers;

/* The settings; answers: how many there are without --n. model is where --from-config looks. An exit code. */
int cli_generation(gram_generation *g, const char *model, size_t answers);
/* Every setting, and where it comes from. */
int cli_say_generation(gram_model *m, const gram_generation *g);

/* How a model is opened that writes beside a judge: what is said of a judge is not its business, nor is the base. */
gram_options cli_writer_options(const gram_options *all, const char *chat_template);

/* The name of the first of these options that was given; NULL: none was. For commands that may write nothing. */
const char *cli_generation_given(void);

#endif
