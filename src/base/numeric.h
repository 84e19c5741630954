/* numeric.h - numbers written and read with a point, whatever the caller's locale says, for this thread and a while. */
#ifndef GR_BASE_NUMERIC_H
#define GR_BASE_NUMERIC_H

#include <locale.h>
#include <stdbool.h>

typedef struct { locale_t mine, before; } gr_numeric;
bool gr_numeric_enter(gr_numeric *l);       /* false: no memory, and nothing to leave */
void gr_numeric_leave(gr_numeric *l);

#endif
