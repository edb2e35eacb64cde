// A button that opens JupyterLab's "Create New View for Cell Output" for the cell it is in.
// Elsewhere than in `reactive-demo lab`, which lets pages reach the application, there is none.

export default {
    render({ el }) {
        const app = window.jupyterapp
        if (!app) return
        const button = document.createElement("button")
        button.className = "jupyter-button rd-keep-in-view"
        button.textContent = "Keep in view"
        button.title = "Open a second view of this, which stays while the page moves"
        button.addEventListener("click", async () => {
            const page = app.shell.currentWidget
            const number = page.content.widgets.findIndex(cell => cell.node.contains(el))
            if (number < 0) return
            page.content.activeCellIndex = number
            await app.commands.execute("notebook:create-output-view")
            app.shell.activateById(page.id) // the next Shift+Enter is for the page
        })
        el.append(button)
    },
}
