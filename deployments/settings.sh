# Source this file in bash before calling pip or uv. It keeps the settings that select the sources of packages and the
# access to them, and clears all others, such as PIP_USER, PIP_TARGET and UV_SYSTEM_PYTHON, which would change what is
# installed, and where. It also defines the function that protects the environments of others.
for name in "${!PIP_@}" "${!UV_@}"; do
    case $name in
        *INDEX* | *FIND_LINKS | *PROXY | *CERT* | *_HOST | *TLS* | *KEYRING* | *TIMEOUT | *RETRIES) ;;
        *CACHE* | *OFFLINE | *CONFIG_FILE | UV_CONCURRENT* | UV_LINK_MODE | UV_PYTHON*) ;;
        *) unset "$name" ;;
    esac
done
unset name VIRTUAL_ENV CONDA_PREFIX
export PIP_USER=0  # overrides pip's configuration file

# Fail unless the packages in a folder may be replaced: it is new or empty, or an environment without packages, or an
# environment that this project has made. Mark it as the project's, so that an interrupted installation can be repeated.
claim_environment() {
    local marker=$1/.mnist-environment others
    if [ ! -e "$marker" ] && [ ! -e "$1/.setup" ] && { [ -e "$1" ] || [ -L "$1" ]; }; then
        others=$(ls -A "$1/" 2>/dev/null) || others=file
        if [ -e "$1/pyvenv.cfg" ]; then
            others=$(find "$1"/lib/python3*/site-packages -mindepth 1 -maxdepth 1 ! -name 'pip*' ! -name 'setuptools*' \
                ! -name 'wheel*' ! -name pkg_resources ! -name '*distutils*' ! -name '_virtualenv.*' ! -name __pycache__)
        fi
        if [ -n "$others" ]; then
            echo "$1 exists, and its content is not of this project: move it away, or use another folder" >&2
            return 2
        fi
    fi
    mkdir -p "$1"
    touch "$marker"
}
