# install.mk - put gram where a system looks for it. PREFIX is where it will live, DESTDIR is put before it.
INSTALL  ?= install
bindir   ?= $(PREFIX)/bin
libdir   ?= $(PREFIX)/lib
incdir   ?= $(PREFIX)/include
datadir  ?= $(PREFIX)/share
MANDIR   := $(datadir)/man/man1
BASHDIR  := $(datadir)/bash-completion/completions
ZSHDIR   := $(datadir)/zsh/site-functions
FISHDIR  := $(datadir)/fish/vendor_completions.d
RECIPES  := $(datadir)/gram/recipes
JUDGES   := $(wildcard data/judge/*/*)
JUDGE    := $(datadir)/gram/judge

# The man page and the completions are written by the program, from the tables that it parses by.
$(B)/gram.1: $(B)/gram
	$< help --man >$@
$(B)/completion.%: $(B)/gram
	$< completion $* >$@

# The paths are settled when it is installed, so it is made each time.
define PC
prefix=$(PREFIX)
libdir=$(libdir)
includedir=$(incdir)

Name: gram
Description: Score, rank and evaluate answers with a generative reward model
Version: $(VERSION)
Cflags: -I$${includedir}
Libs: -L$${libdir} -lgram
Requires.private: jansson libpcre2-8 libutf8proc zlib libzstd liblz4 libcyaml nettle
Libs.private: -ldnnl -lgomp -lm -pthread
endef
export PC

install: all $(B)/libgram.so $(B)/libgram.a $(B)/gram.1 $(addprefix $(B)/completion.,bash zsh fish)
	$(INSTALL) -d $(addprefix $(DESTDIR),$(bindir) $(libdir)/pkgconfig $(incdir)/gram $(MANDIR) $(BASHDIR) $(ZSHDIR) \
	    $(FISHDIR) $(RECIPES))
	$(INSTALL) -m 755 $(B)/gram $(DESTDIR)$(bindir)/gram
	$(INSTALL) -m 644 include/gram/*.h $(DESTDIR)$(incdir)/gram
	$(INSTALL) -m 644 $(B)/libgram.a $(DESTDIR)$(libdir)/libgram.a
	$(INSTALL) -m 644 $(B)/libgram.so $(DESTDIR)$(libdir)/libgram.so.$(VERSION)
	ln -sf libgram.so.$(VERSION) $(DESTDIR)$(libdir)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(libdir)/libgram.so
	printf '%s\n' "$$PC" >$(DESTDIR)$(libdir)/pkgconfig/gram.pc
	$(INSTALL) -m 644 $(B)/gram.1 $(DESTDIR)$(MANDIR)/gram.1
	$(INSTALL) -m 644 $(B)/completion.bash $(DESTDIR)$(BASHDIR)/gram
	$(INSTALL) -m 644 $(B)/completion.zsh $(DESTDIR)$(ZSHDIR)/_gram
	$(INSTALL) -m 644 $(B)/completion.fish $(DESTDIR)$(FISHDIR)/gram.fish
	$(INSTALL) -m 644 recipes/* $(DESTDIR)$(RECIPES)
	$(foreach f,$(JUDGES),$(INSTALL) -D -m 644 $(f) $(DESTDIR)$(patsubst data/judge/%,$(JUDGE)/%,$(f)) &&) true
	@echo "installed under $(DESTDIR)$(PREFIX); if programs do not find libgram there yet, run ldconfig"

uninstall:
	rm -f $(addprefix $(DESTDIR),$(bindir)/gram $(libdir)/libgram.a $(libdir)/libgram.so.$(VERSION) \
	      $(libdir)/$(SONAME) $(libdir)/libgram.so $(libdir)/pkgconfig/gram.pc $(MANDIR)/gram.1 $(BASHDIR)/gram \
	      $(ZSHDIR)/_gram $(FISHDIR)/gram.fish $(patsubst include/%,$(incdir)/%,$(wildcard include/gram/*.h)) \
	      $(patsubst recipes/%,$(RECIPES)/%,$(wildcard recipes/*)) \
	      $(patsubst data/judge/%,$(JUDGE)/%,$(JUDGES)))
	-rmdir $(DESTDIR)$(incdir)/gram $(DESTDIR)$(RECIPES) \
	    $(addprefix $(DESTDIR),$(sort $(dir $(patsubst data/judge/%,$(JUDGE)/%,$(JUDGES)))) $(if $(JUDGES),$(JUDGE))) \
	    $(DESTDIR)$(datadir)/gram

.PHONY: install uninstall
