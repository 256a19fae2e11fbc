"""An existing mesh, and somebody who has nothing of it but kubeconfigs."""
