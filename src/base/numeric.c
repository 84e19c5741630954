/* numeric.c - see numeric.h. */
#include "base/numeric.h"

bool gr_numeric_enter(gr_numeric *l)
{
    l->mine = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
    if (l->mine)
        l->before = uselocale(l->mine);
    return l->mine;
}

void gr_numeric_leave(gr_numeric *l)
{
    uselocale(l->before);
    freelocale(l->mine);
}
