#!/bin/sh
# Fails on an #include that points down. The arguments are the folders of src/ in their order: a file includes
# headers of its own folder and of folders before it; serve and cli include only include/gram/, base/ and what
# is their own, so that what they do a user of the library can do; `gram serve` starts the server by serve/serve.h
# and knows no other header of it. A *_int.h stays in its folder. The map, src/README.md, has the folders in that order.
# Without arguments the order is the Makefile's.
order=${*:-$(sed -n 's/^LAYERS *:= *//; t found; b; :found; s/ op / op cuda /p' Makefile)}
found=0
for f in src/*/*.[ch] src/*/*.cu src/*/*.cuh; do
    own=$(basename "$(dirname "$f")")
    case $own in
    serve) allowed="base serve" ;;
    cli)   allowed="base cli" ;;
    *)     allowed=
           for l in $order; do allowed="$allowed $l"; [ "$l" != "$own" ] || break; done ;;
    esac
    # shellcheck disable=SC2013  # names hold no spaces
    for i in $(sed -n 's/^#include "\([a-z]*\/[^"]*\)".*/\1/p' "$f"); do
        from=${i%%/*}
        [ "$from" != gram ] || continue
        case "$f $i" in
        "src/cli/cmd_serve.c serve/serve.h" | "src/cli/cmd_watch.c serve/serve.h") continue ;;
        "src/op/gpu.cuh emu/emu.h" | "src/op/gpu90.cuh emu/emu90.h") continue ;;
        esac
        case " $allowed " in
        *" $from "*) ;;
        *) echo "$f: includes $i, which it may not"; found=1; continue ;;
        esac
        case $i in
        *_int.h) [ "$from" = "$own" ] || { echo "$f: includes $i, which belongs to $from alone"; found=1; } ;;
        esac
    done
done
# A device's threads and kernels are reached through it alone; rows are made into tokens by threads of the host's own,
# whatever the device is.
for l in model train optim align; do
    if grep -nE 'gr_pool_|gr_kern_of|gr_device_lane\(' src/"$l"/*.c | grep -v '^src/train/set_read.c:.*gr_pool_'; then
        echo "src/$l: threads and kernels are the device's: gr_device_run(), lane->op"; found=1
    fi
done
# A caller in C or Python writes no dashes: sentences name an option `so`, and the command line adds them. What a
# program is called with on a command line of its own is as it is typed.
for l in $order; do
    case $l in serve|cli) continue ;; esac
    if grep -nE '^[^"]*"([^"]*[^-"])?--[a-z]' src/"$l"/*.c |
        grep -vE 'src/eval/[a-z_]*page\.c|gguf-split --|gram [a-z]+ %s --|started with --'; then
        echo "src/$l: a sentence names an option with dashes"; found=1
    fi
done
# shellcheck disable=SC2016  # backquotes of Markdown
map=$(sed -n 's/^| `\([a-z]*\)\/` .*/\1/p' src/README.md | tr '\n' ' ')
there=$(for l in $order; do [ ! -d "src/$l" ] || printf '%s ' "$l"; done)
[ "$map" = "$there" ] || { echo "src/README.md: lists the folders as $map; the Makefile has $there"; found=1; }
[ "$found" = 0 ] && echo "layers: no include points down"
exit "$found"
