/* program.h - a program beside us that answers each line it is given with a line of its own. */
#ifndef GR_REWARD_PROGRAM_H
#define GR_REWARD_PROGRAM_H

#include <stddef.h>
#include "base/mem.h"
#include "gram/error.h"

typedef struct gr_program gr_program;

/* Starts /bin/sh -c command in a process group of its own. timeout: seconds in which it has to write its next line. */
gram_status gr_program_open(gr_program **out, const char *command, double timeout, gram_err *err);
/* Writes text, which holds n whole lines, and reads n lines; tell gets each, without its newline. A program that ended,
 * is silent for too long or writes a line of more than 1 MiB is GRAM_EIO, and of no more use: what it writes later
 * would be taken for the answer to something else. So is one whose line tell failed at, which is handed back. */
typedef gram_status gr_program_line(void *arg, size_t i, gr_str line, gram_err *err);
gram_status gr_program_ask(gr_program *p, const char *text, size_t bytes, size_t n, gr_program_line *tell, void *arg,
                           gram_err *err);
void gr_program_close(gr_program *p);       /* kills the group; NULL is fine */

#endif
