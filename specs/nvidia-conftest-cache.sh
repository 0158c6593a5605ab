#!/bin/sh
# Remembers what NVIDIA's conftest.sh asks the compiler about a kernel, and which flags the kernel's own Makefiles found
# it to know. The time changes, the bytes never do: a question of conftest is known by the SHA-256 of all that can change
# its answer, one of a Makefile by its words, and whatever is not understood goes to the compiler.
#
#   nvidia-conftest-cache.sh prepare FOLDER TREE DEVEL SOURCE CC [ANSWERS [-jN]]   before make; FOLDER is made
#   MAKEFILES=FOLDER/flags.mk make REPOBUILD_CONFTEST=FOLDER/conftest.mk …   both say nothing when they are not there
#   nvidia-conftest-cache.sh collect FOLDER OUTPUT                           after make; OUTPUT is always written
#   nvidia-conftest-cache.sh cc FOLDER …                                     the compiler that conftest.sh is given
#   nvidia-conftest-cache.sh parts FOLDER FLAGS …                            many runs of conftest.sh in few shells
#
# A question: the text, the flags, every header of the kernel's build tree, the compiler's programs with their libraries
# and headers. What differs between drivers and cannot matter is left out of it:
#   - the folders of the driver's tree and of the kernel's, and conftest's process number, in the flags;
#   - -DNV_… that neither the text nor a header of the kernel names;
#   - a repeated -std, and -Wno-error where no -Werror is before it;
#   - "#if defined(NV_…_PRESENT)" of the text: conftest/headers.h decides it, what is left out is left out of the text;
#   - the second reading of generated/autoconf.h (the flags include it first), when it holds nothing but definitions;
#   - indentation and empty lines.
# A text that includes any other file of the driver's tree is not remembered, nor is an answer during which the compiler
# read one (-H tells), nor a failure that is not the compiler's own verdict on the text.
#
# OUTPUT holds each answer this build used, sorted, whether remembered or new: the same with and without ANSWERS. Its
# form, and that of ANSWERS: the format, then "identity <digest of kernel and compiler>" and "<question> <0|1>" lines;
# the same of what Makefiles asked, whose identity is the compiler's alone and whose questions are encoded words.
# POSIX sh, awk, coreutils, findutils, grep: what every kernel buildroot has.
set -u
FORMAT="repobuild-conftest 1"
EMPTY=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 # SHA-256 of nothing

say() { echo "repobuild: conftest answers: $*"; }

hash_of() { sha256sum | cut -c1-64; }

# Names and digests of the files of that pattern below a folder.
files_below() { (cd "$1" && find . -follow -name "$2" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum); }

# Contents of the programs a compilation runs, of the libraries they load, and of the compiler's own headers.
compiler_identity() {
    "$cc" --version
    for program in "$cc" "$("$cc" -print-prog-name=cc1)" "$("$cc" -print-prog-name=as)"; do
        path=$(command -v "$program") || continue
        readlink -f "$path"
        ldd "$(readlink -f "$path")" 2>/dev/null | awk '{ for (i = 1; i <= NF; i++) if ($i ~ /^\//) print $i }'
    done | LC_ALL=C sort -u | while read -r file; do sha256sum <"$file"; done
    files_below "$own" '*'
}

# Names and contents of the headers that a kernel's build tree offers.
kernel_identity() {
    for place in $trees; do files_below "$place" '*.h'; done
}

# Files of the driver's tree that a header of the kernel could reach: it asks for a file of that name.
reachable() {
    {
        (cd "$tree" && find . -name '*.h' | sed 's,^\./,,')
        (cd "$tree/common/inc" 2>/dev/null && find . -name '*.h' | sed 's,^\./,,')
    } >"$folder/own-names"
    grep -rhoE --include='*.h' '^[[:space:]]*#[[:space:]]*include[[:space:]]*["<][^">]+' $trees |
        sed 's/^[^"<]*["<]//' | LC_ALL=C sort -u | grep -Fx -f "$folder/own-names"
}

prepare() {
    folder=$1 tree=$(cd "$2" && pwd -P) devel=$3 source=$4 cc=$5 answers=${6:-} jobs=${7:-}
    jobs=${jobs#-j}
    here=$(cd "$(dirname "$0")" && pwd -P)/$(basename "$0")
    rm -rf "$folder"
    mkdir -p "$folder/answers" || return 1
    folder=$(cd "$folder" && pwd -P)
    : >"$folder/used"
    case "$folder $tree $devel $source $here" in
        *[!A-Za-z0-9/._+~\ ,=@^-]*) say "off: a folder's name holds a character that a shell would not keep"; return ;;
    esac
    case "$tree$devel$source$folder$here" in *" "*) say "off: a folder's name holds a blank"; return ;; esac
    for variable in CPATH C_INCLUDE_PATH GCC_EXEC_PREFIX COMPILER_PATH CCC_OVERRIDE_OPTIONS GCC_COMPARE_DEBUG; do
        if env | grep -q "^$variable="; then say "off: $variable is set"; return; fi
    done
    if [ ! -s "$answers" ]; then
        answers=
    elif [ "$(head -n 1 "$answers")" != "$FORMAT" ]; then
        say "not read: $answers is of another format"
        answers=
    fi
    remember_flags
    if ! grep -q '^NV_CONFTEST_CFLAGS ' "$tree/Kbuild" || ! grep -q '^NV_CONFTEST_CMD ' "$tree/Kbuild"; then
        say "off: this tree's Kbuild has no conftest of the kind known here"
        return
    fi
    trees=$devel
    if [ "$(cd "$source" && pwd -P)" != "$(cd "$devel" && pwd -P)" ]; then trees="$devel $source/"; fi
    own=$("$cc" -print-file-name=include)
    if [ ! -d "$own" ]; then say "off: $cc tells no folder of its headers"; return; fi
    # Three that read every header of the kernel, and the compiler's own contents: side by side.
    kernel_identity >"$folder/kernel" &
    compiler_identity >"$folder/compiler" &
    grep -rhowE --include='*.h' 'NV_[A-Za-z0-9_]+' $trees | LC_ALL=C sort -u | tr '\n' ' ' >"$folder/words" &
    # A kernel's header that asks for a file the driver has, too: answers are then of this driver's tree alone.
    shared=$(reachable)
    wait
    identity=$({
        echo "$FORMAT"
        cat "$folder/kernel" "$folder/compiler"
        if [ -n "$shared" ]; then files_below "$tree" '*.h'; fi
    } | hash_of)
    words=$(cat "$folder/words")
    autoconf=$(for place in $trees; do find "$place" -follow -path '*/generated/autoconf.h'; done)
    # More than one, or more in it than definitions: its second reading is not left out.
    if grep -qs 'undef.*CONFIG_' "$devel/include/linux/kconfig.h" "$source/include/linux/kconfig.h"; then autoconf=; fi
    definition='#define CONFIG_[A-Za-z0-9_]+ .*[^\\]'
    if [ ! -f "$autoconf" ] || grep -qvE "^($definition|/?[ *].*|)\$" "$autoconf"; then autoconf=; fi
    cat >"$folder/settings" <<END
tree='$tree' devel='$devel' source='$source' autoconf='$autoconf'
cc='$cc' own='$own' identity='$identity' words='$words' here='$here' jobs='${jobs:-1}'
END
    echo "$identity" >"$folder/identity"
    if [ -n "$answers" ]; then
        awk -v folder="$folder/answers/" -v identity="$identity" '
            $1 == "identity" { mine = $2 == identity }
            mine && NF == 2 && length($1) == 64 && $2 ~ /^[01]$/ { print $2 >(folder $1); close(folder $1) }
        ' "$answers"
    fi
    # Flags once instead of for each test (each time three compilers are started, one after the other); then the
    # compiler of the tests. Both as late as Kbuild itself would look, and only what is recognized is replaced.
    cat >"$folder/conftest.mk" <<END
\$(eval repobuild_conftest_cflags = \$(value NV_CONFTEST_CFLAGS))
NV_CONFTEST_CFLAGS = \$(eval NV_CONFTEST_CFLAGS := \$\$(repobuild_conftest_cflags))\$(NV_CONFTEST_CFLAGS)
repobuild_cc = "/bin/sh $here cc $folder"
NV_CONFTEST_CMD := \$(subst "\$(CC)",\$(repobuild_cc),\$(subst "\$(strip \$(CC))",\$(repobuild_cc),\$(NV_CONFTEST_CMD)))
ifeq (\$(findstring $here,\$(NV_CONFTEST_CMD)),)
\$(error repobuild: Kbuild calls conftest.sh in an unknown way: \$(NV_CONFTEST_CMD))
endif
END
    {
        printf 'ifneq ($(REPOBUILD_CONFTEST),)\n-include $(dir $(REPOBUILD_CONFTEST))before.mk\nendif\n'
        cat "$tree/Kbuild"
        printf '\nifneq ($(REPOBUILD_CONFTEST),)\ninclude $(REPOBUILD_CONFTEST)\nendif\n'
    } >"$folder/Kbuild"
    if grep -qFx "$TIE" "$tree/Kbuild"; then make_headers_first; fi
    cat "$folder/Kbuild" >"$tree/Kbuild"
    say "$(ls "$folder/answers" | wc -l) known, identity $identity${shared:+, of this tree alone: $shared}"
}

# Some 30 times a kernel's Makefiles start the compiler on nothing, one after the other, to see whether it knows a flag:
# 0.7 s before anything is compiled. All ask through try-run, so that is replaced by one that looks first and then
# does as the kernel's own; remembered is only that a flag was taken, which nothing but the compiler can say (a refusal
# may be a full disk's), and only where the compiler reads no file but /dev/null. Words are encoded so that they can be a
# name in a makefile.
remember_flags() {
    try_run=$(cat "$source/scripts/Makefile.compiler" "$source/scripts/Kbuild.include" 2>/dev/null |
        awk '/^try-run[ \t]*=/ { found = 1 } found { print } !/\\$/ { found = 0 }')
    if [ "$(printf '%s\n' "$try_run" | grep -c '^try-run')" != 1 ]; then
        say "flags off: this kernel's Makefiles have no try-run of the kind known here"
        return
    fi
    flags_identity=$(flags_compiler | hash_of)
    echo "$flags_identity" >"$folder/flags-identity"
    : >"$folder/flags-used"
    {
        cat <<END
repobuild_folder := $folder
repobuild_tree := $tree
repobuild_compiler := $cc
repobuild_$(printf '%s\n' "$try_run" | sed 's/^try-run/try_run/')
END
        cat <<'END'
repobuild_empty :=
repobuild_blank := $(repobuild_empty) $(repobuild_empty)
repobuild_hash := \#
# make 3 has no $(file …): there everything is asked, and nothing remembered
ifneq ($(filter 4.% 5.%,$(MAKE_VERSION)),)
repobuild_words = $(subst $(repobuild_hash),@H,$(subst $(repobuild_tree),@T,$(strip $(1))))
repobuild_encoded = $(subst $(repobuild_blank),@S,$(subst =,@E,$(subst :,@C,$(subst $$,@D,$(repobuild_words)))))
# A word with a slash could name a file, but where it is known what that is.
repobuild_paths = -ffile-prefix-map=% -fmacro-prefix-map=% -fdebug-prefix-map=% /dev/null $(repobuild_compiler)
repobuild_odd = $(findstring @,$(1))$(findstring ",$(2)$(3))$(findstring \,$(1)$(2)$(3))$(findstring $$,$(2)$(3))
repobuild_refused = $(repobuild_odd)$(findstring /,$(filter-out $(repobuild_paths),$(1)))
repobuild_forms = $(foreach language,c assembler-with-cpp,$(repobuild_compiler)@S%@S-c@S-x@S$(language)@S/dev/null@S-o@S"@DTMP")
repobuild_known = $(if $(repobuild_refused),,$(filter $(repobuild_forms),$(repobuild_encoded)))
repobuild_note = $(file >>$(repobuild_folder)/flags-used,$(4) 0)
repobuild_answer = $(if $(filter y,$(5)),$(repobuild_note)$(2),$(if $(filter n,$(5)),$(3)))
repobuild_said = $(or $(repobuild_said_$(4)),$(call repobuild_try_run,$(1),y,n))
repobuild_flag = $(call repobuild_answer,$(1),$(2),$(3),$(4),$(repobuild_said))
repobuild_ask = $(if $(4),$(repobuild_flag),$(call repobuild_try_run,$(1),$(2),$(3)))
override try-run = $(call repobuild_ask,$(1),$(2),$(3),$(repobuild_known))
endif
END
        if [ -n "$answers" ]; then
            awk -v identity="$flags_identity" -v wanted="$FLAGS_QUESTION" '
                $1 == "identity" { mine = $2 == identity }
                mine && NF == 2 && $1 ~ wanted && $2 == "0" { print "repobuild_said_" $1 " := y" }
            ' "$answers"
        fi
    } >"$folder/flags.mk"
    say "$(grep -c '^repobuild_said_.*:=' "$folder/flags.mk") flags known"
}
FLAGS_QUESTION='^[A-Za-z0-9_.,/+"@-]+@S-c@S-x@S(c|assembler-with-cpp)@S/dev/null@S-o@S"@DTMP"$'

# The programs behind a flag's answer. What a linker's note says of a program is its contents' digest, found in a tenth of
# the time that reading all of it takes.
flags_compiler() {
    "$cc" --version
    for program in "$cc" "$("$cc" -print-prog-name=cc1)" "$("$cc" -print-prog-name=as)"; do
        path=$(readlink -f "$(command -v "$program")")
        echo "$path"
        readelf -n "$path" 2>/dev/null | grep 'Build ID' || sha256sum <"$path"
    done
}

# Kbuild ties each of some 200 objects to each of some 400 parts of conftest's headers, and make walks all these ties
# again whenever it starts or ends a part. So a make that knows of no object makes the headers, when Kbuild is read for
# the objects, which are then tied to nothing.
TIE='$(addprefix $(obj)/,$(NV_OBJECTS_DEPEND_ON_CONFTEST)): | $(NV_CONFTEST_HEADERS)'
make_headers_first() {
    cat >"$folder/before.mk" <<'END'
ifeq ($(REPOBUILD_HEADERS),)
override NV_OBJECTS_DEPEND_ON_CONFTEST :=
endif
END
    ahead=
    if knows_parts; then
        stamp=
        if grep -q '^$(obj)/conftest/uts_release:' "$tree/Kbuild"; then stamp='$(obj)/conftest/uts_release'; fi
        ahead="\$(repobuild_make) \$(BUILD_SANITY_CHECKS) $stamp >&2 && \
\$(call repobuild_parts,test_kernel_header,header_presence,.part,\$(NV_HEADER_PRESENCE_TESTS)) >&2 && \
\$(repobuild_make) \$(obj)/conftest/headers.h >&2 && \
\$(call repobuild_parts,compile_tests,compile-tests,.h,\$(sort \$(foreach kind,FUNCTION GENERIC MACRO SYMBOL TYPE,\
\$(NV_CONFTEST_\$(kind)_COMPILE_TESTS)))) >&2 && "
    fi
    cat >>"$folder/conftest.mk" <<END
repobuild_make = \$(MAKE) -j${jobs:-1} \$(build)=\$(obj) REPOBUILD_HEADERS=1
repobuild_parts = /bin/sh $here parts $folder '\$(NV_CONFTEST_CFLAGS)' \$(1) \$(obj)/conftest/\$(2) \$(3) "\$(4)" \$(NV_CONFTEST_CMD)
ifeq (\$(REPOBUILD_HEADERS)\$(wildcard $folder/headers-made),)
\$(shell $ahead\$(repobuild_make) \$(NV_CONFTEST_HEADERS) >&2 && : >$folder/headers-made)
ifeq (\$(wildcard $folder/headers-made),)
\$(error repobuild: conftest's headers could not be made)
endif
endif
END
}

# A part is one run of conftest.sh, 250 KB that a shell reads anew for each. Where Kbuild's rules for parts are those
# known here, their files are made ahead by shells that read it once; a file that is missing then is made by its rule.
knows_parts() {
    while read -r line; do
        sed 's/^[[:space:]]*//' "$tree/Kbuild" | grep -qFx -e "$line" || return 1
    done <<'END'
$(obj)/conftest/compile-tests/%.h: $(NV_CONFTEST_SCRIPT) $(NV_CONFTEST_HEADER)
@$(NV_CONFTEST_CMD) compile_tests '$(NV_CONFTEST_CFLAGS)' \
$(notdir $*) > $@
NV_HEADER_PRESENCE_PART = $(addprefix $(obj)/conftest/header_presence/,$(addsuffix .part,$(1)))
@$$(NV_CONFTEST_CMD) test_kernel_header '$$(NV_CONFTEST_CFLAGS)' '$(1)' > $$@
END
}

# parts FOLDER FLAGS VERB TARGET SUFFIX NAMES SHELL SCRIPT CC ARCH SOURCE OUTPUT
parts() {
    repobuild_folder=$1 repobuild_flags=$2 repobuild_verb=$3 repobuild_target=$4 repobuild_suffix=$5 repobuild_names=$6
    shell=$7 script=$8
    shift 9
    repobuild_arch=$1 repobuild_source=$2 repobuild_output=$3
    . "$repobuild_folder/settings"
    server=$(dirname "$script")/repobuild-conftest.sh # beside it: conftest.sh works where it lies
    {
        echo 'repobuild_conftest() {'
        cat "$script"
        printf '\n}\nset -- serve\n. %s\nserve\n' "$here"
    } >"$server"
    export repobuild_folder repobuild_flags repobuild_verb repobuild_target repobuild_suffix repobuild_names
    export repobuild_arch repobuild_source repobuild_output repobuild_jobs="$jobs"
    turn=0
    while [ "$turn" -lt "$jobs" ]; do
        repobuild_turn=$turn "$shell" "$server" </dev/null &
        turn=$((turn + 1))
    done
    wait
}

# Every part whose turn it is; its own variables begin with repobuild_, so that conftest.sh meets none of them.
serve() {
    set +u
    for repobuild_name in $repobuild_names; do
        repobuild_turn=$(((repobuild_turn + 1) % repobuild_jobs))
        if [ "$repobuild_turn" != 0 ]; then continue; fi
        repobuild_file=$repobuild_target/$repobuild_name$repobuild_suffix
        if [ ! -d "${repobuild_file%/*}" ]; then mkdir -p "${repobuild_file%/*}"; fi
        echo " CONFTEST: $repobuild_name"
        (repobuild_conftest repobuild_cc "$repobuild_arch" "$repobuild_source" "$repobuild_output" "$repobuild_verb" \
            "$repobuild_flags" "$repobuild_name") >"$repobuild_file" || rm -f "$repobuild_file"
    done
}

repobuild_cc() { (compile "$repobuild_folder" "$@"); }

# conftest.sh asks for the folder of its own name each time: of a plain path no program is needed to tell.
dirname() {
    case $#$1 in
        *//* | *[[:space:]]*) command dirname "$@" ;;
        1?*/*[!/]) printf '%s\n' "${1%/*}" ;;
        *) command dirname "$@" ;;
    esac
}

# The question as text, nothing when it cannot be remembered.
QUESTION='
function other(text, from, to,    at, done) {
    while ((at = index(text, from)) > 0) {
        done = done substr(text, 1, at - 1) to
        text = substr(text, at + length(from))
    }
    return done text
}
function exists(path,    line, found) { found = (getline line <path) >= 0; close(path); return found }
function inside(path) {
    return index(path, tree "/") == 1 || path == tree || index(path, devel "/") == 1 || \
        index(path, source "/") == 1 || index(path, own) == 1
}
function never() { exit 3 }
function names(text, into) {
    while (match(text, /NV[A-Za-z0-9_]*/)) {
        into[substr(text, RSTART, RLENGTH)]
        text = substr(text, RSTART + RLENGTH)
    }
}
# The text without the branches that conftest/headers.h decides; the text itself when its form is not a simple one.
function reduced(text,    count, lines, i, line, name, depth, decided, taken, live, left, early) {
    live = early = 1
    count = split(text, lines, "\n")
    for (i = 1; i <= count; i++) {
        line = lines[i]
        sub(/^[ \t]+/, "", line); sub(/[ \t]+$/, "", line)
        if (line == "") continue
        if (line ~ /^#[ \t]*if[ \t]+defined\(NV_[A-Z0-9_]+_PRESENT\)$/) {
            name = line; sub(/^.*\(/, "", name); sub(/\)$/, "", name)
            if (name in kernels) return text
            decided[++depth] = live; taken[depth] = name in present
        } else if (line ~ /^#[ \t]*if/) decided[++depth] = 0
        else if (line ~ /^#[ \t]*el/ && depth && decided[depth]) {
            if (line !~ /^#[ \t]*else$/) return text
            taken[depth] = !taken[depth]
        } else if (line ~ /^#[ \t]*endif/) {
            if (!depth) return text
            if (!decided[depth--]) { if (live) left = left line "\n"; continue }
        } else {
            if (!live) continue
            if (early && autoconf != "" && line == "#include <generated/autoconf.h>") continue
            if (line ~ /^#[ \t]*include/ && line !~ /^#include (<linux\/kconfig.h>|"conftest\/headers.h")$/) early = 0
            if (line ~ /^#[ \t]*(define|undef)[ \t]+CONFIG/) early = 0
            left = left line "\n"
            continue
        }
        if (line ~ /^#[ \t]*(if|el)/ && live && !decided[depth]) left = left line "\n"
        live = 1
        for (name = 1; name <= depth; name++) if (decided[name] && !taken[name]) live = 0
    }
    return depth ? text : left
}
BEGIN {
    tree = ENVIRON["q_tree"]; devel = ENVIRON["q_devel"]; source = ENVIRON["q_source"]; own = ENVIRON["q_own"]
    while ((getline line <ENVIRON["q_file"]) > 0) text = text line "\n"
    if (text == "" || text ~ /has_include|include_next|#[ \t]*import/) never()
    count = split(ENVIRON["q_words"], word, " ")
    for (i = 1; i <= count; i++) kernels[word[i]]
    names(text, named)
    plain = text !~ /##|\/\*|\/\/|\\\n|__LINE__|BUILD_BUG|[aA][sS][sS][eE][rR][tT]|#[ \t]*(define|undef)[ \t]+NV_/

    count = split(ENVIRON["q_flags"], word, " ")
    for (i = 1; i <= count; i++) {
        flag = word[i]
        if (flag ~ /^(@|-fplugin|-specs|-B|-wrapper|-x|-save|-M[DFTQ]|-MMD|-Wp,|-o)/) never()
        path = flag
        sub(/^(-I|-isystem|-iquote|-idirafter|-imacros|-include|-isysroot|--sysroot=|-L)/, "", path)
        if (path ~ /^\// && !inside(path)) never()
        if (flag ~ /^-I/ && path !~ /^\//) never()
        if (flag ~ /^-I/ && index(path, tree) == 1) searched[path]
        if (flag == "-include" && word[i + 1] == ENVIRON["q_autoconf"]) autoconf = word[i + 1]
        if (flag == "-Werror") strict = 1
        if (flag == "-Wno-error" && !strict) continue
        if (flag ~ /^-std=/) { if (flag == standard) continue; standard = flag }
        if (flag ~ /^-[DU]NV_.*_PRESENT/) plain = 0
        if (flag ~ /^-DNV_/ && text !~ /##/) {
            name = substr(flag, 3); sub(/=.*/, "", name)
            if (!(name in named) && !(name in kernels)) continue
        }
        flag = other(other(other(flag, tree, "@TREE@"), source "/", "@SOURCE@/"), devel "/", "@DEVEL@/")
        gsub(/#conftest[0-9]+/, "#conftest", flag)
        sub(/^conftest[0-9]+\.c$/, "conftest.c", flag)
        flags = flags flag "\n"
    }
    searched[tree]
    count = split(text, lines, "\n")
    for (i = 1; i <= count; i++) {
        if (lines[i] !~ /#[ \t]*include/) continue
        if (!match(lines[i], /["<][^">]+[">]/)) never()
        name = substr(lines[i], RSTART + 1, RLENGTH - 2)
        if (name == "conftest/headers.h") {
            if (i > 1) plain = 0
            headers = 1
            continue
        }
        for (folder in searched) if (exists(folder "/" name)) never()
    }
    if (headers) {
        path = tree "/conftest/headers.h"
        if (!exists(path)) never()
        while ((getline line <path) > 0) {
            known = known line "\n"
            if (line ~ /^#define NV_[A-Z0-9_]+_PRESENT$/) { split(line, word, " "); present[word[2]] }
            else if (line !~ /^(#undef NV_[A-Z0-9_]+_PRESENT|\/\/.*|)$/) plain = 0
        }
        if (plain) {
            for (name in present) if (name in kernels) plain = 0
        }
        if (plain) {
            text = reduced(text)
            known = ""
            # In the order in which the text names them: no other matters to it.
            for (rest = text; match(rest, /NV[A-Za-z0-9_]*/); rest = substr(rest, RSTART + RLENGTH)) {
                name = substr(rest, RSTART, RLENGTH)
                if (name in present && !(name in told)) { told[name]; known = known "#define " name "\n" }
            }
        }
    }
    printf "%s\n%s\n%s\n%s", ENVIRON["q_identity"], flags, text, known
}'

# Succeeds when what the compiler said shows that it read nothing but the kernel and itself, and that a failure is its
# verdict on the text.
VERDICT='
BEGIN { tree = ENVIRON["q_tree"]; devel = ENVIRON["q_devel"]; source = ENVIRON["q_source"]; own = ENVIRON["q_own"] }
/^\.+ / {
    path = $2
    if (path == "conftest/headers.h" || path == "./conftest/headers.h" || path == tree "/conftest/headers.h") next
    if (index(path, own) == 1) next
    if (path ~ /\.h$/ && (index(path, devel "/") == 1 || index(path, source "/") == 1)) next
    bad = 1
}
/error: / { said = 1 }
/internal compiler error|signal terminated|No space left|annot allocate|out of memory/ { bad = 1 }
/cannot execute|write error|Input\/output|Too many open/ { bad = 1 }
END { exit bad || (ENVIRON["q_status"] != 0 && !said) }'

compile() {
    folder=$1
    shift
    . "$folder/settings"
    all=$*
    # Without -nostdinc it reads headers that no question covers.
    case " $all " in *" -nostdinc "*) ;; *) exec "$cc" "$@" ;; esac
    case " $all " in
        *" -c conftest"*.c" ") question=${all##* } ;;
        " -E -M "*" - ") question=- ;;
        *) exec "$cc" "$@" ;;
    esac
    text=$question
    if [ "$text" = - ]; then
        text=$folder/text.$$
        while IFS= read -r line || [ -n "$line" ]; do printf '%s\n' "$line"; done >"$text" # starts no program
    fi
    export q_tree="$tree" q_devel="$devel" q_source="$source" q_own="$own" q_words="$words" q_identity="$identity"
    export q_file="$text" q_flags="$all" q_autoconf="$autoconf"
    key=$(awk "$QUESTION" </dev/null | sha256sum)
    key=${key%% *}
    if [ "$key" != "$EMPTY" ] && [ -f "$folder/answers/$key" ]; then
        read -r status <"$folder/answers/$key"
        if [ "$status$question" != "0-" ] && [ "$status" = 0 ]; then : >"${question%.c}.o"; fi
    else
        if [ "$question" = - ]; then
            LC_ALL=C "$cc" -H "$@" <"$text" 2>"$folder/said.$$"
            status=$?
        else
            LC_ALL=C "$cc" -H "$@" 2>"$folder/said.$$"
            status=$?
            if [ "$status" = 0 ] && [ ! -f "${question%.c}.o" ]; then key=$EMPTY; fi
        fi
        q_status=$status awk "$VERDICT" "$folder/said.$$" || key=$EMPTY
        [ "$status" -le 1 ] || key=$EMPTY
        echo "$status $question $key" >>"$folder/asked"
        rm -f "$folder/said.$$"
    fi
    # A short line is appended whole, whoever else appends.
    if [ "$key" != "$EMPTY" ]; then echo "$key $status" >>"$folder/used"; fi
    return "$status"
}

collect() {
    {
        echo "$FORMAT"
        if [ -f "$1/identity" ]; then
            echo "identity $(cat "$1/identity")"
            LC_ALL=C sort -u "$1/used"
        fi
        if [ -s "$1/flags-used" ]; then
            echo "identity $(cat "$1/flags-identity")"
            awk -v wanted="$FLAGS_QUESTION" 'NF == 2 && $1 ~ wanted && $2 == "0"' "$1/flags-used" | LC_ALL=C sort -u
        fi
    } >"$2"
    asked=0
    if [ -f "$1/asked" ]; then asked=$(wc -l <"$1/asked"); fi
    say "$(LC_ALL=C sort -u "$1/used" | wc -l) used, $asked asked of the compiler"
    flags=$(cat "$1/flags-used" 2>/dev/null | LC_ALL=C sort -u | wc -l)
    say "$flags flags of the kernel's Makefiles used"
}

command=$1
shift
case $command in
    prepare) prepare "$@" ;;
    collect) collect "$@" ;;
    cc) compile "$@" ;;
    parts) parts "$@" ;;
    serve) ;; # read for its functions
    *) echo "usage: $0 prepare|collect|cc|parts …" >&2; exit 2 ;;
esac
